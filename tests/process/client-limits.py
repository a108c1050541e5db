# SPDX-License-Identifier: MIT
"""The part of client-limits.sh in Python."""
from process import *

LIMITS = "/proc/sys/user/"
LATE = 5.0  # seconds; the library looks again after one


def inotify_fails(directory):
    """Is inotify out of order for this user?"""
    libc = ctypes.CDLL(None)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return True
    watch = libc.inotify_add_watch(fd, directory.encode(), 0x100)
    os.close(fd)
    return watch < 0


def with_limit(name):
    path = LIMITS + name
    with open(path, encoding="ascii") as file:
        before = file.read()
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("0")
    except OSError as e:
        skip(f"{name} used up", f"it cannot be set: {e}")
        return
    if not ok(inotify_fails(RUN), f"{name}: used up"):
        return
    comes_and_goes(name)
    with open(path, "w", encoding="ascii") as file:
        file.write(before)


def plug(what, context, names, change):
    """What `change` does is noticed: by who waits for readers, by who waits for this one, and in the list."""
    waiter = Context()
    wait = Call(waiter.change, 20000, (PNP, 0))
    time.sleep(0.2)
    start = time.monotonic()
    change()
    same(sorted(context.list()), sorted(names()), f"{what}: the list is right at once")
    outcome = wait.join()
    ok(outcome.value and outcome.value[0][0] & CHANGED and time.monotonic() - start < LATE,
       f"{what}: who waits for readers is told", outcome)


def comes_and_goes(limit):
    context = Context()
    same(context.list(), [], f"{limit}: no reader yet")
    handlers = []

    def start_one():
        handlers.append(Handler(f"one-{limit[-9:]}", "--driver", "virtual", "--card", "builtin"))

    plug(f"{limit}: plugged", context, lambda: [handlers[0].name], start_one)
    name = handlers[0].name
    card = context.connect(name)
    ok(call(card.status).value, f"{limit}: it can be used")
    state = context.state(name)[0] & ~CHANGED
    wait = Call(Context().change, 20000, (name, state))
    time.sleep(0.2)
    plug(f"{limit}: unplugged", context, lambda: [], handlers[0].stop)
    outcome = wait.join()
    ok(outcome.value and outcome.value[0][0] & (UNKNOWN | UNAVAILABLE), f"{limit}: who waits for its card is told", outcome)
    same(call(card.disconnect).code, "success", f"{limit}: the handle is given back")
    plug(f"{limit}: replugged", context, lambda: [name], handlers[0].start)
    card = call(context.connect, name).value
    ok(card and call(card.status).value, f"{limit}: and usable")
    for _ in range(3):
        handlers[0].stop()
        same(context.list(), [], f"{limit}: gone, the list knows")
        handlers[0].start()
        same(context.list(), [name], f"{limit}: back, the list knows")
    handlers[0].stop()
    forget(handlers[0])
    context.release()


with_limit("max_inotify_instances")
with_limit("max_inotify_watches")
finish()
