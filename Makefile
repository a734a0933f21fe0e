# vimage: the port sysutils/vimage, and beside the sources what a checkout needs.
#
#	make test			sets up everything and runs all tests
#	make install [DESTDIR=..]	copies vimage below PREFIX; fetches and builds nothing
#	make deinstall			takes away what install brought, changed settings stay
#
# It is the port where there are no sources beside this file, in a ports tree, and with
# USE_PORT=yes (PORTSDIR names the ports tree); then "make package" and all else are those
# of ports(7).  With the sources beside it the port is made of them and fetches nothing.

.if exists(${.CURDIR}/vimage/__init__.py) && !defined(USE_PORT) && \
    !exists(${.CURDIR}/../../Mk/bsd.port.mk)

.include "port/checkout.mk"

.else

PORTNAME=	vimage
DISTVERSION=	2.0.0
CATEGORIES=	sysutils net

MAINTAINER=	ports@FreeBSD.org
COMMENT=	Boot service for VNET jails wired with netgraph

LICENSE=	BSD2CLAUSE
LICENSE_FILE=	${WRKSRC}/LICENSE

USES=		python:3.11+,run
NO_ARCH=	yes
NO_BUILD=	yes

OPTIONS_DEFINE=	YAML DOCS EXAMPLES
OPTIONS_DEFAULT=	YAML
OPTIONS_SUB=	yes
YAML_DESC=	Vimages described in YAML
YAML_RUN_DEPENDS=	${PYTHON_PKGNAMEPREFIX}yaml>0:devel/py-yaml@${PY_FLAVOR}

.if exists(${.CURDIR}/vimage/__init__.py)
DISTFILES=
EXTRACT_ONLY=
SOURCES=	LICENSE README.md benchmark devd docs man newsyslog.conf.d periodic port \
		pyproject.toml rc.conf.d rc.d sbin share tests vimage
.endif

.include <bsd.port.options.mk>

CHECKOUT=	-f port/checkout.mk PREFIX=${PREFIX} PYTHON=${PYTHON_CMD} DESTDIR=${STAGEDIR}
.if !${PORT_OPTIONS:MDOCS}
CHECKOUT+=	DOCS=
.endif
.if !${PORT_OPTIONS:MEXAMPLES}
CHECKOUT+=	EXAMPLES=
.endif

.if exists(${.CURDIR}/vimage/__init__.py)
do-extract:
	@${MKDIR} ${WRKSRC}
	@cd ${.CURDIR} && ${TAR} -cf - --exclude __pycache__ ${SOURCES} | ${TAR} -xf - -C ${WRKSRC}
.endif

do-install:
	@cd ${WRKSRC} && ${MAKE} ${CHECKOUT} stage

do-test:
	@cd ${WRKSRC} && ${SETENV} PYTHON=${PYTHON_CMD} ${SH} tests/run

.include <bsd.port.mk>

.endif
