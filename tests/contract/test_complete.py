"""No operation of the contract, and no error that it names, is without a test."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.contract import registry


def covered():
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        if file.stem != "test_complete":
            importlib.import_module(f"tests.contract.{file.stem}")
    return registry.COVERED


def test_every_operation_and_every_documented_error_has_a_test():
    assert sorted(map(registry.describe, registry.promised() - covered())) == []


def test_no_test_claims_what_the_contract_does_not_say():
    assert sorted(map(registry.describe, covered() - registry.promised())) == []


def test_errors_are_read_from_docstrings():
    import errno

    assert registry.documented("Does it.  Errors: ENOENT no such node; ELOOP or EMLINK a link.") \
        == {errno.ENOENT, errno.ELOOP, errno.EMLINK}
    assert registry.documented("EINVAL is no error here.") == set()
