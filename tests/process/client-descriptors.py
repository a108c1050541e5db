# SPDX-License-Identifier: MIT
"""The part of client-descriptors.sh in Python."""
import resource

from process import *

handlers = [Handler(f"few-{i}", "--driver", "virtual", "--card", "builtin") for i in range(4)]
context, other = Context(), Context()
names = context.list()
same(len(names), 4, "four readers")
kept = other.connect(names[3])  # in use all the time


def park(some):
    for name in some:
        context.connect(name).disconnect()


def without_descriptors(function, *arguments):
    """Its outcome while this process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    try:
        function(*arguments)
        return "SUCCESS"
    except Error as e:
        return e.name
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


park(names[:2])
same(without_descriptors(context.connect, names[2]), "SUCCESS", "a connect takes the place of connections that are kept")
park(names[:2])
same(without_descriptors(other.connect, names[2]), "SUCCESS", "also where another context keeps them")
same(without_descriptors(context.connect, names[0]), "E_NO_MEMORY", "where there are none, descriptors are short")
same(without_descriptors(kept.status), "SUCCESS", "connections in use are not touched")
park(names[:2])
same(without_descriptors(context.state, names[3]), "SUCCESS", "a look at a reader takes their place, too")
finish()
