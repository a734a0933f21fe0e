"""Runs rc.d/vimage with a program in place of vimage that tells how it was called."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "rc.d" / "vimage"

#: Prints $FAKE_TABLE, or else each argument on a line of its own, exits with $FAKE_STATUS, and
#: keeps a list of its calls.
PROGRAM = """\
#!/bin/sh
echo "$*" >> "${0%/*}/calls"
if [ "$FAKE_TABLE" ]; then
	printf '%s' "$FAKE_TABLE"
else
	for argument; do printf '<%s>\\n' "$argument"; done
fi
exit ${FAKE_STATUS:-0}
"""


@dataclass
class RcScript:
    """rc.d/vimage with ``subr`` for rc.subr, below a directory of its own."""

    directory: Path
    subr: str
    jailed: int = 0
    parent: str = "sh"
    configuration: str = 'vimage_enable="YES"\n'
    environment: dict[str, str] = field(default_factory=dict)

    def program(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def install(self) -> Path:
        """The script, its program, sysctl(8) and ps(1), all below the directory."""
        vimage = self.program("program", PROGRAM)
        self.program("sysctl", f"#!/bin/sh\necho {self.jailed}\n")
        self.program("ps", f"#!/bin/sh\necho {self.parent}\n")
        (self.directory / "rc.conf").write_text(self.configuration)
        text = SCRIPT.read_text().replace("/usr/local/sbin/vimage", str(vimage))
        return self.program("vimage", text.replace("/etc/rc.subr", self.subr))

    def __call__(self, *arguments: str, shell: str = "sh",
                 before: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script; with ``before``, source it after those lines, as rc(8) does."""
        script = self.install()
        command = [shell, str(script), *arguments]
        if before:
            command = [shell, "-c", f'{before}\n( set -- "$@"; . {script} )', "rc", *arguments]
        return self.run(*command)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the script's environment."""
        path = f"{self.directory}:{os.environ['PATH']}"
        return subprocess.run(
            list(command), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            env={"PATH": path, "FAKE_RC_CONF": str(self.directory / "rc.conf"),
                 **self.environment})

    def calls(self) -> list[str]:
        """How the program was called, from the first time on."""
        return (self.directory / "calls").read_text().splitlines()


def called(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The arguments with which vimage was called; [] when it was not."""
    lines = result.stdout.splitlines()
    return [line[1:-1] for line in lines if line.startswith("<")]
