"""Queue and Members, both twins: what they keep alive, and what the garbage collector sees."""

from __future__ import annotations

import gc
import random
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from types import ModuleType

each_queue = pytest.mark.parametrize("module", twins("queue"), ids=build_of)
compiled_queue = pytest.mark.parametrize(
    "module", [twin for twin in twins("queue") if build_of(twin) == "compiled"], ids=build_of
)
each_members = pytest.mark.parametrize("module", twins("members"), ids=build_of)


class Node:
    """Something that refers to others."""

    def __init__(self, *others: Any) -> None:
        self.others = list(others)


@each_queue
def test_a_cycle_through_a_queue_is_collected(module: ModuleType) -> None:
    """A loop that is forgotten with callbacks in its queue."""
    loop = Node(module.Queue())
    ghosts = [weakref.ref(loop)]
    for _ in range(100):
        item = Node(loop)
        ghosts.append(weakref.ref(item))
        loop.others[0].append(item)
    del loop, item
    gc.collect()
    assert not any(ghost() for ghost in ghosts)


@each_queue
def test_an_item_held_elsewhere_keeps_what_it_needs(module: ModuleType) -> None:
    """Also if all else that leads there is garbage: no part of it may be cleared."""
    loop = Node(module.Queue(), "alive")
    item = Node(loop)
    loop.others[0].append(item)
    loop.others[0].append(Node(loop))
    del loop
    gc.collect()
    assert item.others[0].others[1] == "alive"
    assert item.others[0].others[0].size() == 2
    assert item.others[0].others[0].popleft() is item


@each_queue
def test_a_waiting_item_keeps_what_it_refers_to(module: ModuleType) -> None:
    queue = module.Queue()
    kept = Node("alive")
    queue.append(Node(kept, Node(kept)))
    ghost = weakref.ref(kept)
    del kept
    gc.collect()
    assert ghost() is not None
    assert queue.popleft().others[0].others == ["alive"]
    gc.collect()
    assert ghost() is None


@each_queue
@pytest.mark.parametrize("way", ["popleft", "clear"])
def test_cycles_of_items_that_have_left_are_collected(module: ModuleType, way: str) -> None:
    queue = module.Queue()
    item = Node()
    item.others.append(item)
    ghost = weakref.ref(item)
    queue.append(item)
    getattr(queue, way)()
    assert queue.size() == 0
    assert gc.is_tracked(item)
    del item
    gc.collect()
    assert ghost() is None


@compiled_queue
def test_the_collector_passes_waiting_items_over(module: ModuleType) -> None:
    """Or a burst of callbacks would be walked through by every collection."""
    queue = module.Queue()
    items = [Node(number) for number in range(100)]
    for item in items:
        queue.append(item)
    assert not any(gc.is_tracked(item) for item in items)
    queue.append(7)  # what cannot be in a cycle is no business of the collector's
    assert [queue.popleft() for _ in range(100)] == items
    assert all(gc.is_tracked(item) for item in items)
    assert queue.popleft() == 7


@pytest.mark.timeout(900)  # when deep
@each_queue
@given(seed=st.integers(0, 2**32))
def test_random_graphs_of_queues_and_items(module: ModuleType, seed: int) -> None:
    """What can be reached stays whole; what cannot, and is nobody's secret, goes."""
    rng = random.Random(seed)
    nodes = [Node(module.Queue()) for _ in range(12)]
    for number, node in enumerate(nodes):
        node.others.append(number)
        node.others += rng.sample(nodes, rng.randrange(3))
        for other in rng.sample(nodes, rng.randrange(3)):
            node.others[0].append(Node(other, rng.choice(nodes)))
    ghosts = [weakref.ref(node) for node in nodes]
    kept = rng.sample(nodes, rng.randrange(4))
    reached: dict[int, Node] = {}
    waiting = list(kept)
    while waiting:
        node = waiting.pop()
        if node.others[1] in reached:
            continue
        reached[node.others[1]] = node
        waiting += node.others[2:]
        items = [node.others[0].popleft() for _ in range(node.others[0].size())]
        for item in items:
            waiting += item.others
            node.others[0].append(item)
    expected = set(reached)
    nodes.clear()
    reached.clear()
    item = items = node = other = None  # type: ignore[assignment]
    gc.collect()
    assert {number for number, ghost in enumerate(ghosts) if ghost() is not None} == expected
    for node in kept:
        assert isinstance(node.others[1], int)
        assert node.others[0].size() >= 0


# -- Members ----------------------------------------------------------------------------------


@each_members
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=300))
def test_members_are_a_set(module: ModuleType, steps: list[tuple[bool, int]]) -> None:
    members, model = module.Members(), set()
    objects = [Node(number) for number in range(61)]
    for enters, number in steps:
        if enters:
            members.add(objects[number])
            model.add(number)
        else:
            members.discard(objects[number])
            model.discard(number)
        assert len(members) == len(model)
    assert sorted(member.others[0] for member in members.copy()) == sorted(model)


@each_members
def test_many_come_and_go(module: ModuleType) -> None:
    members = module.Members()
    objects = [Node(number) for number in range(5000)]
    for member in objects:
        members.add(member)
        members.add(member)
    assert len(members) == 5000
    order = list(objects)
    random.Random(7).shuffle(order)
    for gone, member in enumerate(order, 1):
        members.discard(member)
        members.discard(member)
        assert len(members) == 5000 - gone
        if gone % 500 == 0:
            assert {id(one) for one in members.copy()} == {id(one) for one in order[gone:]}


@each_members
def test_members_are_not_kept_alive(module: ModuleType) -> None:
    members = module.Members()
    one, other = Node(), Node()
    members.add(one)
    members.add(other)
    ghost = weakref.ref(one)
    members.discard(one)
    del one
    assert ghost() is None
    assert members.copy() == [other]
    ghost = weakref.ref(other)
    copy = members.copy()
    members.discard(other)
    del other
    assert ghost() is not None, "the copy keeps it"
    assert len(members) == 0
    del copy
    assert ghost() is None
