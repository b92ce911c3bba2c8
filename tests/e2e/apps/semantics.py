"""What asyncio promises to a coroutine, asserted from inside of handlers."""

import asyncio
import contextvars
import gc
import os
import sys
import weakref

from oarlock import App

app = App()
mark: contextvars.ContextVar[object] = contextvars.ContextVar("mark", default="unset")


def check(function):
    """Serves the coroutine function under its name; what it asserts decides."""

    async def handler():
        await function()
        return {"ok": True}

    # no wait of its own: `await function()` steps it at once
    handler.__name__ = function.__name__
    app.get(f"/{function.__name__}")(handler)
    return function


@check
async def current_task():
    task = asyncio.current_task()
    assert isinstance(task, asyncio.Task), task
    assert asyncio.current_task() is task
    assert asyncio.tasks.current_task(asyncio.get_running_loop()) is task
    assert not task.done()


@check
async def current_task_is_the_same_after_a_wait():
    task = asyncio.current_task()
    await asyncio.sleep(0)
    assert asyncio.current_task() is task
    await asyncio.sleep(0.001)
    assert asyncio.current_task() is task


@check
async def timeout_without_a_wait():
    async with asyncio.timeout(10) as t:
        pass
    assert not t.expired()


@check
async def timeout_expires():
    try:
        async with asyncio.timeout(0.005):
            await asyncio.sleep(10)
    except TimeoutError:
        return
    raise AssertionError("no timeout")


@check
async def task_group():
    async def child(n):
        await asyncio.sleep(0.001)
        return n

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(child(n)) for n in range(5)]
    assert [t.result() for t in tasks] == [0, 1, 2, 3, 4]


@check
async def task_group_without_a_wait():
    async with asyncio.TaskGroup():
        pass


@check
async def create_task_inherits_the_context():
    mark.set("parent")

    async def child():
        seen = mark.get()
        mark.set("child")
        return seen

    assert await asyncio.create_task(child()) == "parent"
    assert mark.get() == "parent"


@check
async def all_tasks():
    assert asyncio.current_task() in asyncio.all_tasks()
    other = asyncio.create_task(asyncio.sleep(0))
    assert other in asyncio.all_tasks()
    await other


@check
async def cancel_self_then_wait():
    asyncio.current_task().cancel("why")
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError as exc:
        why = exc.args
    else:
        raise AssertionError("not cancelled")
    assert why == ("why",), why
    assert asyncio.current_task().uncancel() == 0


@check
async def cancel_self_in_a_bare_yield():
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        asyncio.current_task().uncancel()
    else:
        raise AssertionError("not cancelled")


@check
async def cancel_self_then_return():
    asyncio.current_task().cancel()


@check
async def uncancel():
    task = asyncio.current_task()
    task.cancel()
    assert task.cancelling() == 1
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        assert task.uncancel() == 0
    await asyncio.sleep(0)


@check
async def task_name():
    task = asyncio.current_task()
    assert task.get_name().startswith("Task-")
    task.set_name("mine")
    await asyncio.sleep(0)
    assert asyncio.current_task().get_name() == "mine"


@check
async def task_weakref():
    ref = weakref.ref(asyncio.current_task())
    assert ref() is asyncio.current_task()
    await asyncio.sleep(0)
    assert ref() is asyncio.current_task()


@check
async def task_done_callback():
    seen = []
    asyncio.current_task().add_done_callback(seen.append)
    await asyncio.sleep(0)
    assert seen == []


@check
async def eager_child_is_the_current_task():
    async def child():
        return asyncio.current_task()

    mine = asyncio.current_task()
    task = asyncio.Task(child(), loop=asyncio.get_running_loop(), eager_start=True)
    assert task.done()
    assert task.result() is task
    assert asyncio.current_task() is mine


@check
async def current_task_in_a_nested_context():
    inside = contextvars.copy_context().run(asyncio.current_task)
    assert inside is asyncio.current_task()
    assert isinstance(inside, asyncio.Task)


@check
async def current_task_in_a_nested_context_then_wait():
    mark.set("mine")
    inside = contextvars.copy_context().run(asyncio.current_task)
    await asyncio.sleep(0)
    assert inside is asyncio.current_task()
    assert mark.get() == "mine"
    await asyncio.sleep(0.001)
    assert inside is asyncio.current_task()


@check
async def no_second_step():
    """A bare yield is one round of the loop: what was queued before it has run by then, and only once."""
    ran = []
    asyncio.current_task()
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await asyncio.sleep(0)
    assert ran == [1]
    await asyncio.sleep(0)
    assert ran == [1]


@check
async def coroutine_of_the_task():
    coro = asyncio.current_task().get_coro()
    await asyncio.sleep(0)
    assert coro.__name__ == "coroutine_of_the_task" or "handler" in coro.__qualname__, coro
    assert "handler" in repr(asyncio.current_task())
    assert asyncio.current_task().get_stack()


@check
async def gather():
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2)) == [1, 2]


@check
async def wait_for():
    assert await asyncio.wait_for(asyncio.sleep(0, "x"), 1) == "x"
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.002)
    except TimeoutError:
        return
    raise AssertionError("no timeout")


@check
async def shield():
    assert await asyncio.shield(asyncio.sleep(0.001, 7)) == 7


@check
async def to_thread():
    mark.set("here")
    assert await asyncio.to_thread(mark.get) == "here"


@check
async def subprocess():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", "print('hi'); raise SystemExit(3)", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == b"hi\n"
    assert process.returncode == 3


@check
async def streams():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@check
async def exception_group():
    async def fail():
        raise ValueError("x")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(10)
    except* ValueError:
        failed = True
    assert failed


@check
async def context_is_its_own():
    assert mark.get() == "unset"
    mark.set("mine")
    await asyncio.sleep(0)
    assert mark.get() == "mine"


inside = 0


@app.get("/crowd/{number}")
async def crowd(number: int):
    """A thousand of these at once; every tenth fails, times out or is left by its client."""
    global inside
    before = mark.get()
    mark.set(number)
    inside += 1
    try:
        while inside < 900:
            await asyncio.sleep(0.01)
        if number % 10 == 0:
            raise ValueError(number)
        if number % 10 == 1:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0.01, mark.get()))
        return {"before": before, "mine": mark.get(), "child": child.result()}
    finally:
        if number == 999:
            await asyncio.sleep(0.2)
            inside = 0


class Cell:
    """Something that only a waiting handler refers to."""


waiting: "weakref.ref[Cell] | None" = None


@app.get("/wait-alone")
async def wait_alone():
    """Waits for a future that nothing but its own frame can reach: asyncio holds tasks weakly."""
    global waiting
    cell = Cell()
    cell.future = asyncio.get_running_loop().create_future()
    waiting = weakref.ref(cell)
    return {"woken": await cell.future}


@app.get("/wake", blocking=False)
def wake():
    gc.collect()
    gc.collect()
    cell = waiting() if waiting else None
    if cell is not None:
        cell.future.get_loop().call_soon_threadsafe(cell.future.set_result, True)
    return {"alive": cell is not None}


@app.get("/own/{number}")
async def own(number: int):
    before = mark.get()
    mark.set(number)
    await asyncio.sleep(0.001 * (number % 5))
    return {"before": before, "mine": mark.get()}


@app.get("/raise/{name}/{when}")
async def raises(name: str, when: str):
    if when == "later":
        await asyncio.sleep(0)
    if when == "asked":
        asyncio.current_task()
    raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[name]


@app.get("/count", blocking=False)
def count():
    gc.collect()
    objects = gc.get_objects()
    return {
        "objects": len(objects),
        "tasks_alive": sum(isinstance(o, asyncio.Task) for o in objects),
        "tasks": len(asyncio.tasks._scheduled_tasks),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
