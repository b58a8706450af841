"""The search stage: conversations as a tree of turns, searched for paths to right answers, which become rows to
imitate, those with a wrong way and a turning back among them (ViGoRL, 2505.23678, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from gamutrl.core import Batch, Context, Message, Prompt, Rollout, Sampling, Source, text
from gamutrl.environments import Environment
from gamutrl.environments.base import Episode, Step
from gamutrl.environments.scripted import play
from gamutrl.environments.search import upper_confidence
from gamutrl.policies.base import Policy
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score
from gamutrl.training.collect import Collecting, with_turns
from gamutrl.training.session import Session


@dataclass(eq=False)
class Node:
    """A conversation up to some turn. ends: how it went on from here, to the end, each with its reward."""

    prompt: Prompt
    said: tuple[str, ...] = ()
    heard: tuple[Message, ...] = ()
    done: bool = False
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    value: float = 0.0
    visits: int = 0
    ends: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def all_ends(self) -> list[tuple[tuple[str, ...], float]]:
        return [*self.ends, *(end for child in self.children for end in child.all_ends())]

    def learn(self, reward: float) -> None:
        """Count a reward here and in all that led here."""
        node: Node | None = self
        while node is not None:
            node.visits += 1
            node.value += (reward - node.value) / node.visits
            node = node.parent


@dataclass(frozen=True)
class TreeSearch(Collecting):
    """Searches a tree of turns for each of `rows` prompts, and writes what it found as the dataset `into`.

    reward: of a whole conversation; `least` is right. simulations: walks down each tree, by upper confidence
    (`exploration`), each to a leaf that then gets up to `children` next turns; each of these is rolled out to its end
    `rollouts` times. aim: what of a turn tells it from its siblings; one with a sibling's aim is dropped. depth: the
    most turns of a node. most: paths kept of each prompt, as the column `turns`: right ones, and as many that first
    take a wrong one's looks, then (`doubt`, at the beginning of the next thought) turn back.
    """

    data: Source
    reward: Reward
    into: str
    environment: Environment
    name: str = "search"
    trains: str = "policy"
    rows: int = 256
    prompts_per_step: int = 16
    simulations: int = 8
    children: int = 3
    rollouts: int = 2
    depth: int = 10
    exploration: float = 2.0
    least: float = 1.0
    most: int = 4
    aim: Callable[[str], Hashable] = str
    doubt: str = "This seems off. Look somewhere else. "
    sampling: Sampling = Sampling()

    def run(self, session: Session) -> None:
        policy: Policy = session.models[self.trains]
        for one in self.rounds(session):
            roots = [Node(prompt) for prompt in one.prompts]
            with one.timer("rollout"), torch.no_grad():
                for walk in range(self.simulations):
                    self.simulate(policy, [self.leaf(root) for root in roots], one.context, walk)
            kept = [with_turns(r.prompt, path, n) for r in roots for n, path in enumerate(self.paths(r))]
            rewards = [reward for root in roots for _, reward in root.all_ends()]
            one.keep(kept, sum(rewards) / max(1, len(rewards)))

    def leaf(self, node: Node) -> Node:
        """Where a walk down the tree ends."""
        while node.children:
            visits = node.visits
            node = max(
                node.children,
                key=lambda child: upper_confidence(child.value, child.visits, visits, exploration=self.exploration),
            )
        return node

    def simulate(self, policy: Policy, leaves: Sequence[Node], context: Context, walk: int) -> None:
        """One walk of every tree: new turns at its leaf, each rolled out, and what they were worth."""
        for node in leaves:
            if node.done or len(node.said) >= self.depth:
                node.learn(node.value)
        grown: list[Node] = []
        for node, rollouts in self._go_on(policy, leaves, self.children, context, f"turn{walk}", turns=1):
            for rollout in rollouts:
                self._grow(node, rollout)
            grown += [child for child in node.children if not child.done]
            self._count(node, [rollout for rollout in rollouts if not _goes_on(rollout)], context)
        for node, rollouts in self._go_on(policy, grown, self.rollouts, context, f"end{walk}"):
            self._count(node, rollouts, context)

    def paths(self, root: Node) -> list[list[str]]:
        """What is kept of a tree: right paths, and right ones after a wrong one's looks, in turn; at most `most`."""
        ends = list(dict(root.all_ends()).items())
        right, wrong = ([said for said, reward in ends if (reward >= self.least) == good] for good in (True, False))
        kept: list[list[str]] = []
        for n, path in enumerate(right):
            astray = [self._mended(wrong[n], path)] if n < len(wrong) and len(wrong[n]) > 1 else []
            kept += [one for one in [list(path), *astray] if self._playable(root.prompt, one)]
        return kept[: self.most]

    def _mended(self, wrong: Sequence[str], right: Sequence[str]) -> list[str]:
        shared = next((n for n, (a, b) in enumerate(zip(wrong, right)) if a != b), min(len(wrong), len(right)) - 1)
        again = right[shared].replace("<think>", f"<think>{self.doubt}", 1)
        return [*wrong[:-1], again, *right[shared + 1 :]]

    def _playable(self, prompt: Prompt, path: Sequence[str]) -> bool:
        played = play(self.environment, prompt, 0, path)
        return len(played) == len(path) and played[-1][1].info.get("end") == "answer"

    def _go_on(
        self, policy: Policy, nodes: Sequence[Node], times: int, context: Context, name: str, turns: int = 0
    ) -> list[tuple[Node, list[Rollout]]]:
        """Each node with `times` continuations (of so many turns), those left out that cannot go on."""
        open_ = [node for node in nodes if not node.done and len(node.said) < self.depth]
        if not open_:
            return []
        asked = [replace(n.prompt, messages=n.prompt.messages + n.heard, id=f"{k}") for k, n in enumerate(open_)]
        resumed = Resumed(self.environment, {prompt.id: node for prompt, node in zip(asked, open_)}, turns)
        seed = int(context.generator(name).initial_seed())
        batch = policy.rollout(asked, times, resumed, self.sampling, seed=seed)
        of = {prompt.id: node for prompt, node in zip(asked, open_)}
        found: dict[str, list[Rollout]] = {prompt.id: [] for prompt in asked}
        for rollout in batch.rollouts:
            found[rollout.prompt.id].append(rollout)
        return [(of[key], rollouts) for key, rollouts in found.items()]

    def _grow(self, node: Node, rollout: Rollout) -> None:
        (turn,) = rollout.turns
        if self.aim(turn.text) in [self.aim(child.said[-1]) for child in node.children]:
            return
        heard = (Message("assistant", (text(turn.text),)), Message(turn.observation_role, turn.observation))
        child = Node(node.prompt, (*node.said, turn.text), node.heard + heard, not _goes_on(rollout), node)
        node.children.append(child)

    def _count(self, node: Node, rollouts: Sequence[Rollout], context: Context) -> None:
        """Score whole conversations; each is counted where its first new turn leads, or here."""
        if not rollouts:
            return
        batch = Batch.of([rollouts[0].prompt], rollouts, [0] * len(rollouts))
        for rollout, reward in zip(rollouts, score((self.reward,), batch, context).reward(self.reward.name).tolist()):
            said = (*node.said, *(turn.text for turn in rollout.turns))
            owner = next((child for child in node.children if child.said == said), node)
            owner.ends.append((said, reward))
            owner.learn(reward)


@dataclass(frozen=True)
class Resumed:
    """Conversations that go on where a node stands, by the row's id; for so many turns (0: to their end)."""

    environment: Environment
    nodes: Mapping[str, Node]
    turns: int = 0

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        node = self.nodes[prompt.id]
        episode = self.environment(node.prompt, 0)
        for said in node.said:
            episode.step(said)
        return _GoingOn(episode, self.turns)


@dataclass(eq=False)
class _GoingOn:
    episode: Episode
    turns: int

    def step(self, output: Any) -> Step:
        step, self.turns = self.episode.step(output), self.turns - 1
        if step.done or self.turns != 0:
            return step
        return replace(step, done=True, info={**step.info, "end": "answer", "goes_on": True})


def _goes_on(rollout: Rollout) -> bool:
    return bool(rollout.turns[-1].info.get("goes_on"))
