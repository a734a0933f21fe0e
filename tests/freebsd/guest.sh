#!/bin/sh
# Runs the FreeBSD tests on this FreeBSD host, as root:
#
#	sh tests/freebsd/guest.sh [PYTEST-ARGUMENT ...]
#	sh tests/freebsd/guest.sh --benchmark [ARGUMENT-OF-BENCHMARK/RUN.PY ...]
#
# They make and remove jails, nodes and interfaces; run them on a host that can bear it.
# vimage is installed from this checkout when it is not installed (make deinstall takes
# it away again).  VIMAGE_TEST_PARENTS names Ethernet interfaces that the tests may take
# over and reset.  Needs Python 3.11 or newer with pytest: pkg install python311
# py311-pytest.  Results go to build/tests/freebsd.xml, what was tested to
# build/tests/uname; the exit status is that of pytest.

cd "$(dirname "$0")/../.." || exit 2
results=build/tests

find_python() {
	for python in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
		"$python" -c 'import sys, pytest; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
		    python=$(command -v "$python") && return
	done
	echo "guest.sh: no Python 3.11 or newer with pytest" \
	    "(pkg install python311 py311-pytest)" >&2
	exit 2
}

install_vimage() {
	[ -x /usr/local/sbin/vimage ] && return
	make install PYTHON="$python" || exit 2
	if service devd onestatus >/dev/null 2>&1; then
		service devd onerestart >/dev/null
	fi
}

find_python
if [ "$1" = --find-python ]; then
	echo "$python"
	exit
fi
if [ "$(uname)" != FreeBSD ] || [ "$(id -u)" -ne 0 ]; then
	echo "guest.sh: needs FreeBSD and root" >&2
	exit 2
fi
install_vimage
mkdir -p $results
uname -a >$results/uname
if [ "$1" = --benchmark ]; then
	shift
	parent=${VIMAGE_TEST_PARENTS%% *}
	exec "$python" benchmark/run.py ${parent:+--parent "$parent"} \
	    --csv $results/figures.csv --svg $results/figures.svg "$@" </dev/null
fi
if [ $# -eq 0 ]; then
	# Reboot tests are run by name: test_before.py, a reboot, test_after.py.
	set -- -m freebsd --ignore=tests/freebsd/reboot tests
	# Without hypothesis its tests cannot even be read; none of them needs FreeBSD.
	# shellcheck disable=SC2046
	"$python" -c 'import hypothesis' 2>/dev/null ||
	    set -- "$@" $(grep -l hypothesis -r tests \
	    --include='test_*.py' | sed 's/^/--ignore=/')
fi
exec "$python" -m pytest -v -p no:cacheprovider --color=no --tb=short --junitxml=$results/freebsd.xml \
    -o junit_suite_name=freebsd "$@" </dev/null
