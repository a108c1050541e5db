# SPDX-License-Identifier: MIT
"""The part of library-late.sh that looks: states that nobody reads pile up, and only the newest one counts."""
from process import *

MANY = 400  # more than the socket has room for
EXCLUSIVE_BIT, IN_USE_BIT = 0x80, 0x100
handler = Handler("late", "--driver", "virtual", "--card", "builtin")
busy, idle = Context(), Context()
reader = busy.list()[0]

for n in (1, 10, 30, MANY):
    quiet = idle.connect(reader)
    card = busy.connect(reader)
    for _ in range(n):
        card.begin()
        card.end()
    card.reconnect(how=RESET)
    time.sleep(0.3)  # a handler that is awake would send the rest while the first part is read
    try:
        quiet.status()
        got = "SUCCESS"
    except Error as e:
        got = e.name
    same(got, "W_RESET_CARD", f"a reset behind {n} transactions is seen by a handle that was idle")
    quiet.disconnect()
    card.disconnect()

for n in (1, 10, 30, MANY):
    idle.state(reader)
    for _ in range(n):
        busy.connect(reader).disconnect()
    card = busy.connect(reader, share=EXCLUSIVE)
    time.sleep(0.3)
    same(idle.state(reader)[0] & (EXCLUSIVE_BIT | IN_USE_BIT), EXCLUSIVE_BIT,
         f"exclusive use behind {n} connections is seen by a program that looks seldom")
    card.disconnect()
finish()
