"""run and Runner: asyncio's, on noria's loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from noria.api.factory import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

T = TypeVar("T")


class Runner(asyncio.Runner):  # type: ignore[misc]  # final by typeshed's word only
    """asyncio.Runner that makes noria's loop.

    Args:
        debug: switches debug mode of the loop; None leaves it as the environment says.
        loop_factory: makes the loop instead of `noria.new_event_loop`.
        engine: name of the engine; None or "auto" asks NORIA_ENGINE, then takes the best available.

    Raises:
        ValueError: both a factory and an engine are given.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: LoopFactory | None = None,
        engine: str | None = None,
    ) -> None:
        if loop_factory is None:
            loop_factory = new_event_loop if engine is None else partial(new_event_loop, engine)
        elif engine is not None:
            raise ValueError(
                "give either loop_factory or engine, not both: a factory chooses alone"
            )
        super().__init__(debug=debug, loop_factory=loop_factory)


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: LoopFactory | None = None,
    engine: str | None = None,
) -> T:
    """Run a coroutine on a new loop, then cancel what is left, end the executor, close the loop.

    Args:
        main: the coroutine.
        debug: switches debug mode of the loop; None leaves it as the environment says.
        loop_factory: makes the loop instead of `noria.new_event_loop`.
        engine: name of the engine; None or "auto" asks NORIA_ENGINE, then takes the best available.

    Returns:
        What the coroutine returned.

    Raises:
        RuntimeError: a loop is running in this thread.
        ValueError: it is no coroutine, or both a factory and an engine are given.
        EngineUnavailableError: the engine is unknown or cannot run here.
        BaseException: what the coroutine raised; KeyboardInterrupt after Ctrl-C has cancelled it.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("noria.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory, engine=engine) as runner:
        return runner.run(main)
