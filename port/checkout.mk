# What a checkout needs of make, for make(1) of FreeBSD and GNU make: no conditionals.

PREFIX ?=	/usr/local
PYTHON ?=	python3.11
DESTDIR ?=

# What is copied, each to the directory of its own name: programs, and samples that are
# installed as FILE.sample and, where there is no FILE, as FILE.
SCRIPTS =	rc.d/vimage periodic/daily/470.status-vimage
SAMPLES =	rc.conf.d/vimage devd/vimage.conf newsyslog.conf.d/vimage.conf
SHARED =	bash-completion/completions/vimage zsh/site-functions/_vimage
MANUALS =	man
EXAMPLES =	docs/guide/examples/*.conf
DOCS =		README.md docs/design.md docs/guide/*.md

LIB =		$(PREFIX)/lib/vimage
IN =		sed -e 's|%%PREFIX%%|$(PREFIX)|g' -e 's|/usr/local|$(PREFIX)|g'

all:
	@echo "vimage needs no building; see make install, make test"

test:
	@sh tests/run

# Sets python to the absolute path of the first Python of those names.
FIND_PYTHON =	python=; for p in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
		python=$$(command -v $$p) && break; done; \
		test -n "$$python" || { echo "make: no Python; PYTHON=... names one" >&2; exit 1; }; \
		python=$$("$$python" -c 'import sys; print(sys.executable)')

# All but the settings themselves, which a package makes of their samples.
stage:
	@set -e; $(FIND_PYTHON); root="$(DESTDIR)$(PREFIX)"; \
	rm -rf "$(DESTDIR)$(LIB)"; \
	mkdir -p "$(DESTDIR)$(LIB)"; \
	find vimage -name '*.py' -type f | tar -cf - -T - | tar -xof - -C "$(DESTDIR)$(LIB)"; \
	chmod -R u=rwX,go=rX "$(DESTDIR)$(LIB)"; \
	"$$python" -m compileall -q -d "$(LIB)" "$(DESTDIR)$(LIB)"; \
	mkdir -p "$$root/sbin"; \
	sed -e "s|%%PYTHON%%|$$python|" -e 's|%%PREFIX%%|$(PREFIX)|' sbin/vimage.in \
	    > "$$root/sbin/vimage"; \
	chmod 555 "$$root/sbin/vimage"; \
	for file in $(SCRIPTS); do \
		mkdir -p "$$root/etc/$$(dirname $$file)"; \
		rm -f "$$root/etc/$$file"; \
		$(IN) $$file > "$$root/etc/$$file"; \
		chmod 555 "$$root/etc/$$file"; \
	done; \
	for file in $(SAMPLES); do \
		mkdir -p "$$root/etc/$$(dirname $$file)"; \
		! cmp -s "$$root/etc/$$file" "$$root/etc/$$file.sample" || rm "$$root/etc/$$file"; \
		$(IN) $$file > "$$root/etc/$$file.sample"; \
		chmod 644 "$$root/etc/$$file.sample"; \
	done; \
	for file in $(SHARED); do \
		mkdir -p "$$root/share/$$(dirname $$file)"; \
		install -m 644 "share/$$file" "$$root/share/$$file"; \
	done; \
	for file in $(MANUALS)/*.[1-9]; do \
		mkdir -p "$$root/share/man/man$${file##*.}"; \
		$(IN) "$$file" | gzip -9n \
		    > "$$root/share/man/man$${file##*.}/$$(basename $$file).gz"; \
	done; \
	for file in $(EXAMPLES); do \
		test -e "$$file" || continue; \
		mkdir -p "$$root/share/examples/vimage"; \
		install -m 644 "$$file" "$$root/share/examples/vimage"; \
	done; \
	for file in $(DOCS); do \
		test -e "$$file" || continue; \
		mkdir -p "$$root/share/doc/vimage"; \
		install -m 644 "$$file" "$$root/share/doc/vimage"; \
	done

install: stage
	@set -e; root="$(DESTDIR)$(PREFIX)"; \
	for file in $(SAMPLES); do \
		test -e "$$root/etc/$$file" || cp -p "$$root/etc/$$file.sample" "$$root/etc/$$file"; \
	done

deinstall:
	@set -e; root="$(DESTDIR)$(PREFIX)"; \
	for file in $(SAMPLES); do \
		! cmp -s "$$root/etc/$$file" "$$root/etc/$$file.sample" || rm -f "$$root/etc/$$file"; \
		rm -f "$$root/etc/$$file.sample"; \
		rmdir "$$root/etc/$$(dirname $$file)" 2>/dev/null || :; \
	done; \
	for file in $(SCRIPTS); do rm -f "$$root/etc/$$file"; done; \
	for file in $(SHARED); do rm -f "$$root/share/$$file"; done; \
	for file in $(MANUALS)/*.[1-9]; do \
		rm -f "$$root/share/man/man$${file##*.}/$$(basename $$file).gz"; \
	done; \
	rm -f "$$root/sbin/vimage"; \
	rm -rf "$(DESTDIR)$(LIB)" "$$root/share/examples/vimage" "$$root/share/doc/vimage"

.PHONY: all test stage install deinstall
