"""The process that makes a plan beside a server: started once a crew that lacks it serves, never twice."""

import logging
import sys

import psutil
import pytest

from server.config import NO_PLAN_YET, SOME_PLANS_MADE, Config
from server.planning import Planning
from tests.conditions import wait_for


class Crew:
    """What is looked at of a crew."""

    def __init__(self, *, plans=("0123", NO_PLAN_YET), complete=True):
        self.complete, self.ground = complete, self
        self.config = Config((), (), plans={f"p{number}": plan for number, plan in enumerate(plans)})


def exits(code):
    return [sys.executable, "-c", f"raise SystemExit({code})"]


HANGS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def start():
    made = []

    def make(command):
        made.append(Planning(command))
        return made[-1]

    yield make
    for each in made:
        each.end()


def steps(planning, crew):
    """What every step has said until the process had ended."""
    said = [planning.step(crew)]
    assert planning.pids
    wait_for(lambda: said.append(planning.step(crew)) or not planning.pids, what="the process ends")
    return said


def test_a_plan_is_news_once(start):
    planning, crew = start(exits(0)), Crew()
    said = steps(planning, crew)
    assert said[-1] and not any(said[:-1])
    assert not planning.step(crew) and not planning.pids


def test_a_failure_is_said_and_not_tried_again(start, caplog):
    planning, crew = start(exits(2)), Crew()
    with caplog.at_level(logging.WARNING):
        assert not any(steps(planning, crew))
    assert "no plan was made (exit code 2)" in caplog.text
    assert not planning.step(crew) and not planning.pids


def test_what_some_pipelines_got_is_news(start, caplog):
    with caplog.at_level(logging.WARNING):
        assert steps(start(exits(SOME_PLANS_MADE)), Crew())[-1]
    assert "not every pipeline got a plan" in caplog.text


def test_the_next_crew_gets_its_own(start):
    planning = start(exits(0))
    assert steps(planning, Crew())[-1]
    assert steps(planning, Crew())[-1]


@pytest.mark.parametrize(
    "crew",
    [Crew(plans=["0123"]), Crew(plans=[]), Crew(complete=False)],
    ids=["has-one", "wants-none", "young"],
)
def test_who_gets_none(start, crew):
    planning = start(exits(0))
    assert not planning.step(crew) and not planning.pids


def test_nobody_makes_plans(start):
    planning = start([])
    assert not planning.step(Crew()) and not planning.pids


def test_a_command_that_is_none_is_said(start, caplog):
    planning, crew = start(["/no/such/command"]), Crew()
    assert not planning.step(crew)
    assert "no plan is made" in caplog.text
    assert not planning.step(crew) and not planning.pids


def test_the_end_of_the_server_is_its_end(start):
    planning = start(HANGS)
    planning.step(Crew())
    (pid,) = planning.pids
    planning.end()
    assert not psutil.pid_exists(pid) and not planning.pids
    planning.end()
