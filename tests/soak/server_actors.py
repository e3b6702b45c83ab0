"""The actors on a server, all at work at the same time: publishers, clients, pruners."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable

from disturbances import injected, run
from server import DEPTH, RefusedError, Server, init, ostree
from support.sysroots import COMMAND

if TYPE_CHECKING:
    import random
    from pathlib import Path

PUBLISHERS = 3
CLIENTS = 2
PRUNERS = 2
OPERATIONS = 20

# A commit gets its ref so soon that a prune which spares younger ones does not come between.
WINDOW_S = 10
SPARING = f"--keep-unreferenced-younger-than={WINDOW_S} seconds ago"

_BUSY = 75
_SIGTERM = 143


class Publisher:
    """Publishes a branch of its own, and a tag."""

    def __init__(self, server: Server, number: int, dice: random.Random, *, beside: bool) -> None:
        """Makes one of the publishers.

        Args:
            server: to publish on.
            number: tells it from the others.
            dice: decides what it does.
            beside: whether other tools prune, too, which delete a commit that has no ref yet.
        """
        self._server = server
        self._branch = f"app/{number}"
        self._tag = f"tag/{number}"
        self._workshop = server.place / f"workshop-{number}"
        self._dice = dice
        self._operations: list[Callable[[], None]] = [
            *[self._commit] * 3,
            self._pull_local,
            self._delta,
            self._delta_from_parent,
            self._summary,
            self._tag_head,
            self._go_back,
            self._drop,
        ]
        if not beside:
            self._operations += [*[self._orphan_then_ref] * 2, self._pull_then_ref]

    def work(self) -> None:
        """Publishes, in ways that the dice choose."""
        for _ in range(OPERATIONS):
            operation = self._dice.choice(self._operations)
            if len(self._promised) < 2:
                # Most of the others need a history.
                operation = self._commit
            kind = operation.__name__.strip("_").replace("_", " ")
            self._server.diary.step(f"publisher: {kind}")
            try:
                operation()
            except RefusedError as error:
                self._server.diary.differs(f"publisher: {kind}", error)

    @property
    def _promised(self) -> list[str]:
        return self._server.promises.get(self._branch, [])

    def _tree(self) -> Path:
        return self._dice.choice(self._server.trees)

    def _commit(self) -> None:
        commit = self._server.ostree("commit", "--no-bindings", f"--branch={self._branch}", self._tree())
        self._server.promise(self._branch, commit)

    def _orphan_then_ref(self) -> None:
        start = time.monotonic()
        parent = self._promised[0] if self._promised else "none"
        commit = self._server.ostree(
            "commit", "--no-bindings", "--orphan", f"--parent={parent}", self._tree()
        )
        self._name(commit, start)

    def _pull_then_ref(self) -> None:
        commit = self._commit_elsewhere()
        start = time.monotonic()
        self._server.ostree("pull-local", self._workshop, commit)
        self._name(commit, start)

    def _name(self, commit: str, start: float) -> None:
        """Creates the ref to a commit, unless that is too late."""
        time.sleep(self._dice.uniform(0, 0.3))
        if time.monotonic() - start > WINDOW_S / 2:
            self._server.diary.event("publisher came too late with a ref")
            return
        self._server.named_later.add(commit)
        self._server.ostree("refs", "--force", f"--create={self._branch}", commit)
        self._server.promise(self._branch, commit)

    def _pull_local(self) -> None:
        commit = self._commit_elsewhere()
        self._server.ostree("pull-local", self._workshop, self._branch)
        self._server.promise(self._branch, commit)

    def _commit_elsewhere(self) -> str:
        """Commits in a repository of its own, on top of the published commit."""
        if not self._workshop.exists():
            init(self._workshop, "archive")
        if self._promised:
            # By its checksum, for the summary may be older than the ref.
            ostree(self._workshop, "pull-local", self._server.repo, self._promised[0])
            ostree(self._workshop, "refs", "--force", f"--create={self._branch}", self._promised[0])
        elif self._branch in ostree(self._workshop, "refs").split():
            ostree(self._workshop, "refs", "--delete", self._branch)
        return ostree(self._workshop, "commit", "--no-bindings", f"--branch={self._branch}", self._tree())

    def _delta(self) -> None:
        self._generate("--empty")

    def _delta_from_parent(self) -> None:
        self._generate(f"--from={self._promised[1]}")

    def _generate(self, origin: str) -> None:
        to = self._promised[0]
        self._server.ostree("static-delta", "generate", "--disable-bsdiff", origin, f"--to={to}")
        name = to if origin == "--empty" else f"{self._promised[1]}-{to}"
        self._server.deltas[name] = to

    def _summary(self) -> None:
        self._server.ostree("summary", "--update")

    def _tag_head(self) -> None:
        self._server.ostree("refs", "--force", f"--create={self._tag}", self._promised[0])
        self._server.promises[self._tag] = list(self._promised)

    def _go_back(self) -> None:
        self._server.ostree("reset", self._branch, self._promised[1])
        self._server.promises[self._branch] = self._promised[1:]

    def _drop(self) -> None:
        del self._server.promises[self._branch]
        self._server.ostree("refs", "--delete", self._branch)


class Client:
    """Pulls, with static deltas or without."""

    def __init__(self, server: Server, number: int, dice: random.Random) -> None:
        """Makes one of the clients; every other one takes no deltas."""
        self._server = server
        self._dice = dice
        self._repo = server.place / f"client-{number}"
        self._options = ["--disable-static-deltas"] if number % 2 else []

    def pull(self) -> None:
        """Pulls refs, which their publishers may delete meanwhile."""
        for _ in range(OPERATIONS):
            refs = sorted(self._server.promises)
            if not self._pull(self._dice.choice(refs)):
                self._server.diary.event("client was refused")

    def check(self) -> None:
        """Pulls all refs while nobody publishes."""
        self._server.diary.step("client: pull all")
        refs = sorted(self._server.promises)
        if not self._pull(*refs):
            self._server.diary.lost("client", f"can't pull {refs}")
        elif run("ostree", f"--repo={self._repo}", "fsck", "--quiet").returncode != 0:
            self._server.diary.lost("client", "what was pulled is not whole")

    def _pull(self, *refs: str) -> bool:
        if not self._repo.exists():
            init(self._repo, "bare-user-only")
        ostree(self._repo, "remote", "add", "--force", "--no-sign-verify", "origin", self._server.url)
        done = run("ostree", f"--repo={self._repo}", "pull", *self._options, "origin", *refs)
        if done.returncode != 0:
            self._server.diary.note(f"  client: {done.stderr}")
        return done.returncode == 0


class Pruner:
    """Prunes in every form: all at once, in slices, by a plan, killed."""

    def __init__(self, server: Server, number: int, dice: random.Random) -> None:
        """Makes one of the pruners; in a control it runs `ostree prune`."""
        self._server = server
        self._plan = server.place / f"plan-{number}"
        self._dice = dice

    def prune(self) -> None:
        """Prunes once."""
        form = self._dice.choice((self._once, self._once, self._disturbed, self._by_plan))
        if self._server.control and form == self._by_plan:
            form = self._once
        form()

    def _options(self) -> list[str]:
        """Options that keep all that is promised."""
        branch = f"app/{self._dice.randrange(PUBLISHERS)}"
        chosen = self._dice.choice(
            (
                [f"--depth={DEPTH}"],
                [f"--depth={DEPTH}"],
                ["--depth=-1"],
                [f"--depth={DEPTH}", f"--retain-branch-depth={branch}={DEPTH + 1}"],
                [f"--depth={DEPTH}", f"--only-branch={branch}"],
                ["--keep-younger-than=1 hour ago"],
                ["--no-prune", "--depth=0"],
            )
        )
        if self._server.control:
            return ["--refs-only", *chosen]
        if "--no-prune" in chosen:
            return ["--refs-only", SPARING, *chosen]
        bounds: tuple[list[str], ...] = (
            [],
            [],
            ["--jobs=1"],
            ["--lock-slice=0.005"],
            ["--max-freed=20K"],
            ["--time-budget=0.05"],
        )
        return ["--refs-only", SPARING, *chosen, *self._dice.choice(bounds)]

    def _run(self, *command: object, ends: tuple[int, ...] = (0, _BUSY)) -> None:
        done = run(*command)
        self._server.diary.note(f"  {done.stdout.splitlines()[-1:]}")
        # A lock that `ostree` can't have, a branch that its publisher has just dropped.
        refused = "Locking repo" in done.stderr or "Refspec" in done.stderr
        if done.returncode not in ends and not refused:
            self._server.diary.differs("exit status", f"{done}")

    def _tool(self) -> object:
        return "ostree" if self._server.control else COMMAND

    def _once(self) -> None:
        options = self._options()
        self._server.diary.step("prune")
        self._server.diary.note(f"  {options}")
        self._run(self._tool(), "prune", f"--repo={self._server.repo}", *options)

    def _disturbed(self) -> None:
        name, effect, end = self._dice.choice(
            (
                ("KILL", "signal=KILL", -9),
                ("TERM", "signal=TERM", _SIGTERM),
                ("slow", "delay_enter=300000", 0),
            )
        )
        self._server.diary.step(f"prune, {name}")
        strace = injected(self._dice, effect, "unlinkat", 40)
        command = [*strace, self._tool(), "prune", f"--repo={self._server.repo}", *self._options()]
        self._run(*command, ends=(0, _BUSY, end, -signal.SIGTERM))

    def _by_plan(self) -> None:
        self._server.diary.step("prune by plan")
        plan = self._plan
        keep = ["--refs-only", SPARING, f"--depth={DEPTH}"]
        self._run(COMMAND, "plan", f"--repo={self._server.repo}", f"--output={plan}", *keep)
        time.sleep(self._dice.uniform(0, 0.5))
        if plan.exists():
            self._run(COMMAND, "apply", plan, *self._dice.choice(([], ["--max-freed=10K"])))
            plan.unlink(missing_ok=True)


def prune_by_others(server: Server, dice: random.Random) -> None:
    """Prunes with another tool, which keeps no history."""
    repo = server.repo
    tool, *words = dice.choice(
        (
            ["ostree", "prune", f"--repo={repo}", "--refs-only", "--depth=0"],
            ["flatpak", "build-update-repo", "--prune", "--prune-depth=0", "--no-update-summary", str(repo)],
        )
    )
    server.diary.step(f"prune by {tool}")
    done = run(tool, *words)
    if done.returncode != 0:
        server.diary.event(f"{tool} failed")
        server.diary.note(f"  {done.stderr}")


def a_round(server: Server, number: int) -> None:
    """Lets all actors work until the publishers are done, and checks the server then."""
    beside = number % 3 == 2
    server.limit(0 if beside else DEPTH)
    over = threading.Event()

    def until_over(action: Callable[[], None]) -> None:
        while not over.is_set():
            action()

    def dice(name: str) -> random.Random:
        return server.dice(number, name)

    clients = [Client(server, index, dice(f"client {index}")) for index in range(CLIENTS)]
    publishers = [
        Publisher(server, index, dice(f"publisher {index}"), beside=beside) for index in range(PUBLISHERS)
    ]
    pruners = [Pruner(server, index, dice(f"pruner {index}")).prune for index in range(PRUNERS)]
    if beside:
        others = dice("others")
        pruners[-1] = lambda: prune_by_others(server, others)
    with ThreadPoolExecutor(PUBLISHERS + CLIENTS + PRUNERS) as threads, server.serving():
        pruning = [threads.submit(until_over, prune) for prune in pruners]
        working = [threads.submit(publisher.work) for publisher in publishers]
        working += [threads.submit(client.pull) for client in clients]
        try:
            for each in working:
                each.result()
        finally:
            over.set()
        for each in pruning:
            each.result()
        server.diary.step("rest")
        server.rest()
        try:
            server.ostree("summary", "--update")
        except RefusedError as error:
            server.diary.differs("summary", error)
        for client in clients:
            client.check()
