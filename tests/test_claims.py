"Claims: the rule and its errors, the registry and its hashes, rows that stay, and the command."

import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import COURSE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from cnncourse import claim_runs, claims, cli, curriculum, runs, verdicts
from cnncourse.claims import Claim, ClaimError, Rows

REGISTRY = claims.registry()
PUBLISHED = claims.published_rows()


# The rule


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", [1, 37])
@pytest.mark.parametrize(
    ("aim", "effect", "wrong"),
    [
        ("more", 1, "supported"),
        ("more", 1, "refuted"),
        ("no less", -1, "supported"),
        ("no less", -1, "refuted"),
        ("same", 1, "refuted"),
        ("same", -1, "refuted"),
    ],
)
def test_on_the_edge_a_wrong_word_comes_as_often_as_is_allowed(aim, effect, wrong, family, seed):
    rate = verdicts.error_rates(effect, aim=aim, margin=1, family=family, seed=seed)[wrong]
    assert abs(rate - 0.025 / family) < 0.01


@pytest.mark.parametrize("levels", [0, 2, 4])
@pytest.mark.parametrize("effect", [-2, -1, 0, 0.9])
def test_off_the_edge_it_errs_less_and_never_depends_by_chance(effect, levels):
    rates = verdicts.error_rates(effect, aim="more", margin=1, levels=levels)
    assert rates["supported"] < 0.035 and rates["depends"] < 0.01
    assert math.isclose(sum(rates.values()), 1)


def test_the_right_word_is_found_where_the_effect_is_large():
    for aim, effect, word in [("more", 5, "supported"), ("more", -4, "refuted"), ("same", 5, "refuted")]:
        assert verdicts.error_rates(effect, aim=aim, margin=1)[word] > 0.99


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.floats(0.5, 0.999))
def test_the_interval_is_that_of_scipy(differences, level):
    d = np.array(differences)
    effect, low, high = verdicts.paired_interval(d, level)
    if np.ptp(d) > 1e-6:
        theirs = stats.ttest_rel(d, np.zeros_like(d)).confidence_interval(level)
        assert np.allclose([low, high], list(theirs), atol=1e-9)
    assert low <= effect <= high


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0, 5), st.floats(0.01, 5))
def test_words_claim_no_difference_where_the_interval_holds_zero(effect, below, above, margin):
    low, high = effect - below, effect + above
    said = verdicts.in_words(effect, (low, high), "one", "two", margin=margin)
    brief = verdicts.in_brief(effect, (low, high), "one", "two")
    if low < 0 < high:
        assert "no difference shown" in said and brief == "no difference shown"
    elif low > 0:
        assert said.startswith("one ahead of two") and brief.startswith("one ahead")
    elif high < 0:
        assert said.startswith("two ahead of one") and brief.startswith("two ahead")


def test_another_outcome_changes_the_words():
    rows = [{"arm": a, "seed": s, "data": "d", "value": s / 100 + (a == "a")} for s in range(5) for a in "ab"]
    how = {"arms": ["a", "b"], "aim": "more", "margin": 0.1}
    turned = [row | {"arm": {"a": "b", "b": "a"}[row["arm"]]} for row in rows]
    assert verdicts.verdict(rows, **how).word == "supported"
    assert verdicts.verdict(turned, **how).word == "refuted"


@pytest.mark.parametrize("bad", [{"value": math.nan}, {"value": math.inf}, {"value": 1.0, "error": "no memory"}])
def test_a_run_that_failed_is_left_out_with_its_partner_and_shown(bad):
    rows = [{"arm": a, "seed": s, "data": "d", "value": float(a == "a"), "error": ""} for s in range(5) for a in "ab"]
    rows[4] |= bad
    found = verdicts.verdict(rows, ["a", "b"], aim="more", margin=0.1)
    assert (found.seeds, len(found.excluded)) == (4, 1) and "seed 2" in found.excluded[0]


# The registry


def test_each_definition_says_what_the_curriculum_says():
    stated = {line.number: line.statement for line in curriculum.lines() if line.kind == "C"}
    assert {number: claim.statement for number, claim in REGISTRY.items()}.items() <= stated.items()
    assert claims.family() == len(stated)


@pytest.mark.parametrize("number", REGISTRY)
def test_no_definition_was_changed_after_its_rows_were_recorded(number):
    assert claims.changed(REGISTRY[number], PUBLISHED) == ""


@pytest.mark.parametrize("number", REGISTRY)
def test_a_full_form_has_ten_seeds_and_two_data_sets_one_of_them_real(number):
    claim = REGISTRY[number]
    assert claim.exact or (claim.seeds >= 10 and len(claim.data) >= 2)
    assert claim.exact or any(
        re.match("digits|textures|photographs|brick|grass|gravel|texts|flights", data) for data in claim.data
    )


def test_what_is_published_is_whole_and_of_claims_that_are_defined():
    assert set(PUBLISHED["claim"]) <= set(REGISTRY)
    for number in set(PUBLISHED["claim"]):
        assert claims.pending(REGISTRY[number], PUBLISHED.assign(versions=claims.made_with())) == []


def test_every_verdict_stands_on_a_page_of_its_own_and_in_its_lesson():
    lessons = {line.number: line.lesson for line in curriculum.lines()}
    for number in REGISTRY:
        cells = json.loads((COURSE / "nbs" / f"{lessons[number]}.ipynb").read_text())["cells"]
        assert any(f'card("{number}"' in "".join(cell["source"]) for cell in cells), number


@pytest.mark.parametrize("number", REGISTRY)
def test_what_a_page_says_was_run_is_what_the_definition_runs(number):
    claim = REGISTRY[number]
    said = claims.design(claim).casefold()
    for part in (*claim.arms, *claim.arms.values(), *claim.data, claim.tested, claim.factor, claim.differs):
        assert part.casefold() in said, part
    assert (f"{claim.seeds} seeds" in said) == (not claim.exact)
    assert claims.design(claim) in claims.designs(int(number[1:].split(".")[0]))


@pytest.mark.parametrize("week", [0, 14, -1, 33])
def test_a_week_without_claims_is_named(week):
    with pytest.raises(ClaimError, match=f"Week {week} has no claim"):
        claims.designs(week)


@pytest.mark.parametrize("number", sorted(set(PUBLISHED["claim"])))
def test_the_arms_of_a_table_have_the_same_seeds_and_the_published_values(number):
    claim = REGISTRY[number]
    found = claims.measured(claim, claim.data[-1], [])
    assert list(found) == list(claim.arms)
    assert {len(values) for values in found.values()} == {1 if claim.exact else claim.seeds}
    with pytest.raises(ClaimError, match="is not tested on 'nothing'"):
        claims.measured(claim, "nothing", [0])


@pytest.mark.parametrize("number", ["C3.5", "C3.6"])
def test_a_claim_that_is_run_again_gives_the_same_numbers(number):
    claim = REGISTRY[number]
    rows = PUBLISHED[(PUBLISHED["claim"] == number) & (PUBLISHED["seed"] == 0)]
    assert len(rows)
    for row in rows.to_dict("records"):
        again = claims.run_once(claim, row["arm"], 0, row["data"])
        assert again["error"] == "" and again["value"] == pytest.approx(row["value"], rel=1e-4, abs=1e-6)


def test_a_rule_that_was_changed_after_looking_shows(monkeypatch):
    claim = REGISTRY["C3.6"]
    rows = PUBLISHED[PUBLISHED["claim"] == "C3.6"]

    def decide(low, high, aim, margin):
        return np.where(np.asarray(low) > 0, "supported", "refuted")

    fresh = Claim(**{name: getattr(claim, name) for name in claim.__dataclass_fields__})
    assert claims.changed(fresh, rows) == ""
    monkeypatch.setattr(verdicts, "decide", decide)
    fresh = Claim(**{name: getattr(claim, name) for name in claim.__dataclass_fields__})
    assert "changed after rows were recorded" in claims.changed(fresh, rows)
    assert not claims.published_verdict(fresh, rows).decided


def test_what_a_run_calls_is_part_of_its_definition(monkeypatch):
    from cnncourse import scaling_claims

    claim = REGISTRY["C1.2"]
    before = claims.definition_hash(claim)
    monkeypatch.setattr(scaling_claims, "vanishing", lambda model, x, y: 0.0)
    assert claims.definition_hash(claim) != before


# Rows


def _row(**changes):
    row = {"claim": "C3.5", "arm": "a", "seed": 0, "data": "d", "value": 0.1, "seconds": 1.0, "error": ""}
    return row | {"versions": "v", "hash": "h"} | changes


def test_rows_of_several_machines_are_joined_and_the_same_run_counts_once(tmp_path):
    kept = Rows(tmp_path)
    kept.shelf.mkdir(parents=True)
    for name, seeds in [("one", range(4)), ("two", range(2, 8))]:
        pd.DataFrame([_row(seed=s) for s in seeds]).to_csv(kept.shelf / f"{name}.csv", index=False)
    kept.add(_row(seed=9, error="no memory", value=math.nan))
    found = kept.all()
    assert found["seed"].tolist() == [*range(8), 9] and found["error"].tolist()[-1] == "no memory"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table"])
def test_a_damaged_file_is_told_with_its_name(content, tmp_path):
    kept = Rows(tmp_path)
    kept.path.parent.mkdir()
    kept.path.write_bytes(content)
    with pytest.raises(ClaimError, match=r"claims\.parquet does not hold rows of claims"):
        kept.all()


# The command


@pytest.fixture
def course(tmp_path):
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_text("[DEFAULT]\n")
    return tmp_path


def _command(course, *arguments, **options):
    call = [sys.executable, "-c", "from cnncourse.cli import main; main()", "claims", *arguments]
    environment = os.environ | {"CI": "1", "PYTHONPATH": str(COURSE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        call, cwd=course, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["C3.55"], "There is no claim called 'C3.55'. Did you mean C3.5"),
        (["C3.5", "--scheduler", "nowhere"], "No Dask scheduler answers at nowhere"),
        (["C3.6", "--seeds", "2"], "C3.6 no verdict: 2 seeds with all runs, 3 are needed."),
        (["C3.6", "--seeds", "3", "--data", "mnist"], "expected one of the tasks"),
        (["C3.5", "--publish"], "C3.5.csv"),
    ],
)
def test_what_the_command_says(arguments, said, course, monkeypatch):
    monkeypatch.chdir(course)
    result = CliRunner().invoke(cli.app, ["claims", *arguments])
    assert said in result.output.replace("\n", " ") + str(result.exception), result.output
    assert result.exception is None or isinstance(result.exception, (runs.RunError, SystemExit))


def test_two_processes_give_the_rows_of_one():
    work = [(REGISTRY["C3.6"], run) for run in claims.plan(REGISTRY["C3.6"], range(2))]
    one, two = (
        sorted((row["arm"], row["seed"], row["data"], row["value"]) for row in claim_runs.made_rows(work, jobs))
        for jobs in (1, 2)
    )
    assert [row[:3] for row in one] == [row[:3] for row in two]
    assert np.allclose([row[3] for row in one], [row[3] for row in two])


def test_after_ctrl_c_what_is_done_stays_and_the_rest_goes_on(course):
    child = _command(course, "C1.2", start_new_session=True)
    kept = Rows(course)
    while child.poll() is None and len(kept.all()) < 3:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    shown = child.communicate()[0]
    done = len(kept.all())
    assert done >= 3 and "Traceback" not in shown, shown
    again = _command(course, "C1.2").communicate()[0]
    total = len(claims.plan(REGISTRY["C1.2"]))
    assert len(kept.all()) == total and (done == total or f"of {total - done} runs" in again)
