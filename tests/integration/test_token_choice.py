"""The short version of tests/load/token_choice.py."""

from __future__ import annotations

from load.token_choice import measure, table


def test_every_candidate_is_measured() -> None:
    """Searches by numpy and by C; single operations by ggml as well."""
    measured = {n_vocab: measure(n_vocab, rounds=2) for n_vocab in (300, 640)}
    programs: dict[str, set[str]] = {}
    for what, program in measured[300]:
        programs.setdefault(what, set()).add(program)
    assert programs["a step of 8 beams"] == {"numpy", "C"}
    assert programs["the sum of the exponentials"] == {"numpy", "C", "ggml"}
    assert min(seconds for times in measured.values() for seconds in times.values()) > 0
    assert len(table(measured).splitlines()) == 2 + len(measured[300])
