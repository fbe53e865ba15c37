"""The workflows for merge requests: their commands are taken from the files and run, in a repository made for it.

What belongs to GitHub and GitLab alone (their runners, actions, widgets) is not here; what they are given is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from pages import ROOT
from ruamel.yaml import YAML

from store.database import Database
from store.seal import SealKeys
from store.tables import PERMISSIONS

CI: Final = ROOT / "deploy" / "ci"
CHECK: Final = CI / "github" / "check.yaml"
APPLY: Final = CI / "github" / "apply.yaml"
GITLAB: Final = CI / "gitlab" / "gitlab-ci.yml"
BIN: Final = Path(sys.executable).parent
SECONDS: Final = 100
POLICY: Final = """\
# yaml-language-server: $schema=policy.schema.json
format: exhook/v1
source: plant
sync: {prune: true}

identities:
  - id: meters
    username: meters
    sign_mode: signed
    client_ids: {prefix: meter-}
    secret: {file: meters}

permissions:
  - id: own-topics
    username: meters
    publish: ["meters/${clientid}/up"]
"""
WIDER: Final = f'{POLICY}    subscribe: ["meters/${{clientid}}/down"]\n'


@dataclass
class Plant:
    """A repository that everybody pushes to, a checkout of somebody, and the machine that holds the store."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def db(self) -> Path:
        return self.folder / "exhook.db"

    def git(self, *arguments: str) -> str:
        return self.run(["git", *arguments])

    def run(self, command: list[str], code: int = 0, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith(("EXHOOK_", "GIT"))}
        people = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = os.pathsep.join([str(self.folder / "bin"), str(BIN), os.environ["PATH"]])
        return others | people | {"PATH": path, "HOME": str(self.folder), "NO_COLOR": "1"} | self.variables

    def step(self, script: str, variables: Mapping[str, str] | None = None, *, code: int = 0) -> str:
        """A step of a workflow, as its runner runs it: with no store and no secret unless they are given."""
        self.variables = dict(variables or {})
        try:
            return self.run(["bash", "-eo", "pipefail", "-c", script], code)
        finally:
            self.variables = {}

    def commit(self, text: str, message: str = "policy") -> None:
        (self.work / "policy").mkdir(exist_ok=True)
        (self.work / "policy" / "policy.yaml").write_text(text)
        self.git("add", "policy")
        self.git("commit", "-q", "-m", message)

    @property
    def production(self) -> dict[str, str]:
        """What the runner on the machine of the store has."""
        return {"EXHOOK_DB": str(self.db), "EXHOOK_SECRETS_DIR": str(self.folder / "secrets")}

    def topics(self) -> set[str]:
        with Database.open(self.db, SealKeys(), create=False) as database:
            return {one.topic for one in database.records(PERMISSIONS)}


@pytest.fixture
def plant(prepared: Path, tmp_path: Path) -> Plant:
    """One as `prepared`, of its own."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Plant(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that is in force, its snapshot published, and a branch for a proposal."""
    folder = tmp_path_factory.mktemp("plant")
    made = Plant(folder)
    for name in ("work", "bin", "secrets"):
        (folder / name).mkdir()
    (folder / "secrets" / "meters").write_text("a long random key")
    for name in ("pip", "gh"):
        stand_in = folder / "bin" / name
        stand_in.write_text(f'#!/bin/sh\necho "$*" >> "$HOME/{name}.said"\n')
        stand_in.chmod(0o755)
    made.run(["git", "init", "-q", "--bare", "-b", "main", "origin.git"], cwd=folder)
    made.git("init", "-q", "-b", "main")
    made.git("remote", "add", "origin", "../origin.git")
    made.commit(POLICY)
    made.git("push", "-q", "origin", "main")
    made.step("exhook-sync apply policy/ --yes --quiet", made.production)
    made.run(["sh", str(CI / "publish-snapshot.sh"), str(made.work), str(made.db)])
    made.git("checkout", "-q", "-b", "proposal")
    return folder


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


def github(path: Path, job: str) -> list[str]:
    """The commands of a job."""
    return [step["run"] for step in read(path)["jobs"][job]["steps"] if "run" in step]


def gitlab(job: str) -> list[str]:
    jobs = read(GITLAB)
    scripts: list[str] = jobs[jobs[job]["extends"]].get("before_script", []) + jobs[job]["script"]
    return scripts


def outputs_of(plant: Plant, name: str) -> dict[str, str]:
    written = (plant.work / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in written)


class TestMergeRequests:
    def test_a_good_one_on_github(self, plant: Plant) -> None:
        plant.commit(WIDER)
        variables = {"GITHUB_STEP_SUMMARY": "summary.md", "NUMBER": "17"}
        said = "".join(plant.step(step, variables) for step in github(CHECK, "check"))
        assert "1 to add, 0 to change, 0 to remove" in said
        assert "meters/${clientid}/down" in said
        plan = (plant.work / "plan.md").read_text()
        assert "1 to add, 0 to change, 0 to remove" in plan
        assert (plant.work / "summary.md").read_text() == plan
        assert (plant.folder / "gh.said").read_text() == "pr comment 17 --body-file plan.md --edit-last\n"

    def test_a_good_one_on_gitlab(self, plant: Plant) -> None:
        plant.commit(WIDER)
        said = "".join(plant.step(step) for job in ("check", "plan") for step in gitlab(job))
        assert "1 to add, 0 to change, 0 to remove" in said
        assert json.loads((plant.work / "plan.json").read_text()) == {"create": 1, "update": 0, "delete": 0}
        assert isinstance(json.loads((plant.work / "lint.json").read_text()), list)
        for promised in (read(GITLAB)[job]["artifacts"] for job in ("check", "plan")):
            for name in [*promised.get("paths", []), *promised["reports"].values()]:
                assert (plant.work / name).stat().st_size, name

    def test_a_broken_one_ends_the_job(self, plant: Plant) -> None:
        plant.commit(POLICY.replace("publish", "publsh"))
        install, validate = github(CHECK, "check")[:2]
        plant.step(install)
        assert "policy/policy.yaml:16:5: unknown key `publsh`; did you mean `publish`?" in plant.step(validate, code=3)

    def test_an_ill_formatted_one_ends_the_job(self, plant: Plant) -> None:
        plant.commit(POLICY.replace("id: meters", "id:    meters"))
        (step,) = [step for step in gitlab("check") if "fmt" in step]
        assert "policy/policy.yaml: would be formatted" in plant.step(step, code=10)

    @pytest.mark.parametrize("steps", [github(CHECK, "check"), gitlab("check")], ids=["github", "gitlab"])
    def test_findings_of_lint_are_shown_and_stop_nothing(self, plant: Plant, steps: list[str]) -> None:
        plant.commit(POLICY.replace("meters/${clientid}/up", "#"))
        (step,) = [step for step in steps if "lint" in step]
        said = plant.step(step)
        report = plant.work / "lint.json"
        assert "everything" in (report.read_text() if report.exists() else said)
        assert report.exists() or said.startswith("::warning file=policy/policy.yaml,line=")

    def test_both_check_the_same(self) -> None:
        on_github = "\n".join(github(CHECK, "check"))
        for step in gitlab("check"):
            assert re.split(" --(?:output|junit)", step)[0] in on_github

    def test_they_hold_no_secret_and_no_store(self) -> None:
        jobs = [
            str(read(CHECK)),
            *(str((read(GITLAB)[job], read(GITLAB)[".merge request"])) for job in ("check", "plan")),
        ]
        assert not [job for job in jobs if re.search("EXHOOK_|secrets|self-hosted|production'", job)]

    @pytest.mark.parametrize("path", [CHECK, APPLY])
    def test_nothing_is_put_into_a_command_by_an_expression(self, path: Path) -> None:
        """Whoever names a branch, or a pull request, would write the command."""
        for job in read(path)["jobs"].values():
            assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")]


class TestApply:
    def test_what_was_let_through_on_github(self, plant: Plant) -> None:
        plant.commit(WIDER)
        (plan,), (apply,) = github(APPLY, "plan"), github(APPLY, "apply")
        plant.step(plan, {"GITHUB_OUTPUT": "outputs"} | plant.production)
        outputs = outputs_of(plant, "outputs")
        assert list(outputs) == list(read(APPLY)["jobs"]["plan"]["outputs"])
        assert "meters/${clientid}/down" not in plant.topics()
        plant.step(apply, {"CHECKSUM": outputs["checksum"]} | plant.production)
        assert "meters/${clientid}/down" in plant.topics()

    def test_what_was_let_through_on_gitlab(self, plant: Plant) -> None:
        plant.commit(WIDER)
        for step in gitlab("to apply"):
            plant.step(step, plant.production)
        outputs = outputs_of(plant, read(GITLAB)["to apply"]["artifacts"]["reports"]["dotenv"])
        (apply,) = gitlab("apply")
        plant.step(apply, outputs | plant.production)
        assert "meters/${clientid}/down" in plant.topics()

    def test_nothing_else(self, plant: Plant) -> None:
        """What came in meanwhile was read by nobody."""
        (plan,), (apply,) = github(APPLY, "plan"), github(APPLY, "apply")
        plant.step(plan, {"GITHUB_OUTPUT": "outputs"} | plant.production)
        plant.commit(WIDER)
        checksum = outputs_of(plant, "outputs")["checksum"]
        assert "is not the reviewed one" in plant.step(apply, {"CHECKSUM": checksum} | plant.production, code=5)
        assert "meters/${clientid}/down" not in plant.topics()

    @pytest.mark.parametrize("steps", [github(APPLY, "drift"), gitlab("drift")], ids=["github", "gitlab"])
    def test_drift_is_told(self, plant: Plant, steps: list[str]) -> None:
        (drift,) = steps
        plant.step(drift, plant.production)
        plant.commit(WIDER)
        assert "meters/${clientid}/down" in plant.step(drift, plant.production, code=9)

    def test_the_variables_are_those_that_the_commands_read(self) -> None:
        known = {"EXHOOK_DB", "EXHOOK_SEAL_KEY_FILE", "EXHOOK_SECRETS_DIR"}
        assert set(read(APPLY)["env"]) == set(read(GITLAB)[".production"]["variables"]) == known


class TestPublishing:
    def test_the_branch_has_the_snapshot_alone(self, plant: Plant) -> None:
        before = plant.git("status", "--porcelain")
        plant.run(["sh", str(CI / "publish-snapshot.sh"), str(plant.work), str(plant.db)])
        assert plant.git("status", "--porcelain") == before
        plant.git("fetch", "-q", "origin", "snapshot")
        assert plant.git("ls-tree", "--name-only", "FETCH_HEAD") == "production.snapshot\n"
        assert plant.git("rev-list", "--count", "FETCH_HEAD") == "1\n"
        snapshot = plant.git("show", "FETCH_HEAD:production.snapshot")
        assert "meters" in snapshot
        assert "a long random key" not in snapshot

    def test_no_store_is_no_snapshot(self, plant: Plant) -> None:
        plant.run(["sh", str(CI / "publish-snapshot.sh"), str(plant.work), str(plant.folder / "none.db")], 8)


class TestPulling:
    def pull(self, plant: Plant) -> None:
        plant.run(["sh", str(CI / "pull.sh"), str(plant.origin), str(plant.folder / "srv")])

    def test_a_link_is_turned_and_the_change_in_force(self, plant: Plant) -> None:
        (plant.folder / "srv").mkdir()
        self.pull(plant)
        served = plant.folder / "srv" / "current"
        assert (served / "policy" / "policy.yaml").read_text() == POLICY
        plant.variables = plant.production
        with watching(plant.environment, plant.folder) as watched:
            assert "in force: revision 1" in watched.line()
            plant.variables = {}
            plant.commit(WIDER)
            plant.git("push", "-q", "origin", "proposal:main")
            self.pull(plant)
            self.pull(plant)
            assert "in force: revision 2: 1 added" in watched.line()
        assert "meters/${clientid}/down" in plant.topics()
        (row,) = json.loads(plant.step("exhook-sync history --limit 1 --json", plant.production))["revisions"]
        assert row["commit"]
        assert plant.git("rev-parse", "HEAD").startswith(row["commit"])

    def test_old_ones_go_and_one_that_was_cut_off_is_made_anew(self, plant: Plant) -> None:
        srv = plant.folder / "srv"
        srv.mkdir()
        self.pull(plant)
        first = (srv / "current").resolve()
        (srv / "new").mkdir()
        plant.commit(WIDER)
        plant.git("push", "-q", "origin", "proposal:main")
        self.pull(plant)
        assert first.exists()
        os.utime(first, (0, 0))
        self.pull(plant)
        second = (srv / "current").resolve()
        assert {one.name for one in srv.iterdir()} == {"repository", "current", second.name}
        assert (second / "policy" / "policy.yaml").read_text() == WIDER

    def test_what_cannot_be_fetched_leaves_all_as_it_is(self, plant: Plant) -> None:
        srv = plant.folder / "srv"
        srv.mkdir()
        self.pull(plant)
        before = (srv / "current").resolve()
        shutil.rmtree(plant.origin)
        plant.run(["sh", str(CI / "pull.sh"), str(plant.origin), str(srv)], 128)
        assert (srv / "current").resolve() == before


@dataclass
class Watched:
    """`exhook-sync watch`, and what it says."""

    process: "subprocess.Popen[str]"
    log: Path
    read: int = 0

    def line(self) -> str:
        """The next line that it says."""
        ends = time.monotonic() + SECONDS
        while len(lines := self.log.read_text().splitlines()) <= self.read:
            assert time.monotonic() < ends, lines
            assert self.process.poll() is None, lines
            time.sleep(0.02)
        self.read += 1
        return lines[self.read - 1]


@contextmanager
def watching(environment: Mapping[str, str], folder: Path) -> Iterator[Watched]:
    log = folder / "watch.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            ["exhook-sync", "watch", "srv/current/policy"],
            cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True,
            executable=BIN / "exhook-sync",
        ) as process,
    ):  # fmt: skip
        try:
            yield Watched(process, log)
        finally:
            process.terminate()
