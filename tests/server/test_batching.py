"""Which requests are computed together, and what becomes of those that fail or leave."""

import asyncio
import logging
from contextlib import closing
from threading import Event

import numpy as np

from chirplet.server.answers import Answers
from chirplet.server.batching import Batcher, Queue

LABELS = ["a", "b"]


class Model:
    """Remembers the batches, the lengths of whose texts are the answers. It waits for `go`, and fails for `bad`."""

    def __init__(self, texts=4):
        self.batches: list[list[str]] = []
        self.begun, self.go = Event(), Event()
        self.go.set()
        self.queue = Queue("model", self.compute, texts, lambda _: None)

    def compute(self, texts):
        self.batches.append(texts)
        self.begun.set()
        self.go.wait()
        if "bad" in texts:
            raise ValueError(f"cannot read {texts}")
        lengths = [len(text) for text in texts]
        return Answers("id", LABELS, texts, np.ones((len(texts), 2)), lengths, [False] * len(texts))


async def begun(model):
    await asyncio.to_thread(model.begun.wait)
    model.begun.clear()


def asked(scenario, *models, wait_ms=0.0):
    """What `scenario` returns, which gets a function that asks a model."""
    with closing(Batcher(wait_ms)) as batcher:
        for model in models:
            batcher.add(model.queue)

        async def run():
            return await scenario(lambda model, *texts: batcher.ask(model.queue, list(texts)))

        return asyncio.run(run())


async def held_up(ask, model):
    """While the first request is computed, others come; they are computed when it is done."""
    model.go.clear()
    first = ask(model, "first")
    await begun(model)
    return first


def test_what_waits_is_computed_together_up_to_the_size_of_a_batch():
    model = Model()

    async def scenario(ask):
        first = await held_up(ask, model)
        others = [ask(model, *texts) for texts in (["b", "cc"], ["d"], ["ee", "f"], ["g"] * 9, ["h"])]
        model.go.set()
        return await asyncio.gather(first, *others)

    first, *others = asked(scenario, model)
    assert model.batches == [["first"], ["b", "cc", "d"], ["ee", "f"], ["g"] * 9, ["h"]]
    assert first.tokens == [5]
    assert [one.label for one in others] == [["b", "cc"], ["d"], ["ee", "f"], ["g"] * 9, ["h"]]
    assert [len(one.probabilities) for one in others] == [2, 1, 2, 9, 1]


def test_a_request_fails_alone_and_no_log_has_its_texts(caplog):
    model = Model()

    async def scenario(ask):
        first = await held_up(ask, model)
        others = [ask(model, text) for text in ("secret", "bad", "c")]
        model.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    with caplog.at_level(logging.DEBUG):
        _, before, failed, behind = asked(scenario, model)
    assert before.label == ["secret"] and behind.label == ["c"] and isinstance(failed, ValueError)
    (message,) = (record.getMessage() for record in caplog.records if record.name.startswith("chirplet"))
    assert message.startswith("model: a request of 1 texts failed: ValueError in ") and "bad" not in message


def test_what_nobody_waits_for_is_not_computed():
    model = Model()

    async def scenario(ask):
        first = await held_up(ask, model)
        gone, stays = ask(model, "gone"), ask(model, "stays")
        gone.cancel()
        first.cancel()
        model.go.set()
        return await stays

    assert asked(scenario, model).label == ["stays"]
    assert model.batches == [["first"], ["stays"]]


def test_texts_that_are_computed_take_room_unless_no_others_wait():
    model = Model()
    model.queue.most = 3

    async def scenario(ask):
        asking, room = [await held_up(ask, model)], []
        for text in "bcd":
            room.append(model.queue.has_room)
            asking.append(ask(model, text))
        asking[-1].cancel()
        model.queue.most = 1
        room.append(model.queue.has_room)
        for one in asking[1:]:
            one.cancel()
        room.append(model.queue.has_room)
        model.go.set()
        await asking[0]
        return room

    assert asked(scenario, model) == [True, True, False, False, True]


def test_models_take_turns():
    one, two = Model(1), Model(1)

    async def scenario(ask):
        first = await held_up(ask, one)
        others = [ask(model, text) for model in (one, two) for text in "xy"]
        one.go.set()
        return await asyncio.gather(first, *others)

    order = []
    for name, model in (("one", one), ("two", two)):
        model.queue.compute = lambda texts, name=name, model=model: (order.append(name), Model.compute(model, texts))[1]
    asked(scenario, one, two)
    assert order == ["one", "two", "one", "two", "one"]


def test_a_request_does_not_wait_where_the_last_one_was_alone():
    model = Model()

    async def scenario(ask):
        return [(await ask(model, text)).label for text in "ab"]

    assert asked(scenario, model, wait_ms=3_600_000.0) == [["a"], ["b"]]
    assert model.batches == [["a"], ["b"]]


def test_a_shared_queue_waits_until_a_batch_is_full():
    model = Model()
    model.queue.shared = True

    async def scenario(ask):
        asking = [ask(model, "a"), ask(model, "b")]
        await asyncio.sleep(0)
        assert not model.batches and 0 < model.queue.seconds_left(3600) <= 3600
        asking += [ask(model, "c"), ask(model, "d")]
        return await asyncio.gather(*asking)

    asked(scenario, model, wait_ms=3_600_000.0)
    assert model.batches == [["a", "b", "c", "d"]]


def test_closing_computes_what_waits():
    model = Model()
    model.queue.shared = True

    async def scenario(ask):
        return ask(model, "a")

    asked(scenario, model, wait_ms=3_600_000.0)
    assert model.batches == [["a"]]
