# SPDX-License-Identifier: MIT
"""The part of names-usb.sh that runs among the readers."""
import re

from process import *

DUAL, DESK_DUAL, DESK_SLOTS, TWIN, TWIN_2, TWIN_3, SCR, ODD, LONG = range(9)
IGNORE = "PCSCLITE_FILTER_IGNORE_READER_NAMES"
GEMPLUS = "Gemplus USB SmartCard Reader"
SHORT_OF_SERIAL = "SCM Microsystems Inc. SCR3310 USB Smart Card Reader [CCID Interface]"


def run_handler(*words):
    status, said = output(os.path.join(B, "ifdhandler"), *words)
    if status != 0:
        ok(False, " ".join(words), f"status {status}", said)


def names(reader):
    with open(os.path.join(RUN, instances[reader] + ".reader"), encoding="utf-8") as file:
        return [line.split(" ", 1)[1].rstrip("\n") for line in file if line.startswith("reader=")]


def register(reader):
    run_handler("--register", instances[reader])
    return names(reader)


def unregister(reader):
    run_handler("--unregister", instances[reader])


def unplug(reader, tidy=True):
    model("unplug", reader)
    if tidy:
        unregister(reader)


def plug(reader):
    instances[reader] = instance_of(model("plug", reader)[0].split("=")[1])
    return register(reader)


def first_names():
    want = {
        DUAL: ["Model Dual Reader [Contactless] (EMU000) 00 00", "Model Dual Reader [Contact] (EMU000) 00 00"],
        DESK_DUAL: ["Desk [Contactless] 00 00", "Desk [Contact] 00 00"],
        DESK_SLOTS: ["Desk 00 00", "Desk 00 01"],
        TWIN: [GEMPLUS + " 00 00"], TWIN_2: [GEMPLUS + " 01 00"], TWIN_3: [GEMPLUS + " 02 00"],
        SCR: [SHORT_OF_SERIAL + " (2112006) 00 00"],
        ODD: ["a=\"b\" [c] M..ller 00 00"],
        LONG: ["0" * 117 + f" 00 {i:02X}" for i in range(8)],
    }
    for reader, what in ((DUAL, "each interface has a name of its own"),
                         (DESK_DUAL, "an own name has the interface's name behind it where there are several"),
                         (DESK_SLOTS, "PCSC-216 slots share a number"),
                         (TWIN, "a device without serial number and interface name"),
                         (TWIN_2, "PCSC-215 an equal device has the next number"), (TWIN_3, "and so on"),
                         (SCR, "an own name of blanks is none"), (ODD, "an own name of odd characters"),
                         (LONG, "PCSC-214 an own name that is too long is cut, for each of its slots")):
        same(register(reader), want[reader], what)
    listed = call(Context().list).value
    same(listed, [name for reader in range(9) for name in want[reader]], "the list is in the order of registration")


def forget():
    """As at boot: nothing is registered, and nothing remembered."""
    for reader in instances:
        unregister(reader)
    for file in (".numbers", ".places"):
        os.unlink(os.path.join(RUN, file))


def long_ago(reader):
    """Its description as if it had been registered in another second than this."""
    path = os.path.join(RUN, instances[reader] + ".reader")
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"^registered=.*$", "registered=0", file.read(), flags=re.M)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def at_boot():
    """Plugged before any was registered, the last port first."""
    for reader in (TWIN, TWIN_2, TWIN_3):
        power = os.path.join("/sys/bus/usb/devices", f"1-{reader + 1}", "power")
        os.makedirs(power, exist_ok=True)
        with open(os.path.join(power, "connected_duration"), "w", encoding="ascii") as file:
            file.write("3000\n")
    forget()
    same(register(TWIN_3), [GEMPLUS + " 00 00"], "no number is left for equal devices that are not registered")
    same(register(TWIN), [GEMPLUS + " 01 00"], "the next one that comes has the next")
    same(register(TWIN_2), [GEMPLUS + " 02 00"], "and so on")
    in_order = [f"{GEMPLUS} {number} 00" for number in ("01", "02", "00")]
    same(call(Context().list).value, in_order, "the list is in the order of the ports")
    long_ago(TWIN_2)
    unregister(TWIN_2)
    # CLOCK_BOOTTIME goes on in suspend, what the kernel counts does not
    status, said = output("unshare", "-T", "--fork", "--boottime", "3600", os.path.join(B, "ifdhandler"), "--register",
                          instances[TWIN_2])
    if status != 0 and "unshare" in said:
        skip("after a suspend the order of ports is the same", said.strip())
    else:
        same(call(Context().list).value, in_order, "after a suspend the order of ports is the same", said)
    register(SCR)
    same(call(Context().list).value[:3], in_order, "others come behind them")
    forget()
    for reader in instances:
        register(reader)


def replugged():
    for reader in (TWIN, TWIN_2):
        unplug(reader)
    same(plug(TWIN_2), [GEMPLUS + " 01 00"], "PCSC-219 plugged in the other order: each port keeps its number")
    same(plug(TWIN), [GEMPLUS + " 00 00"], "PCSC-219 and so does the other one")
    same(call(Context().list).value[-2:], [GEMPLUS + " 01 00", GEMPLUS + " 00 00"], "the list is in the new order")
    unplug(DUAL)
    same(plug(DUAL)[0], "Model Dual Reader [Contactless] (EMU000) 00 00", "PCSC-219 a replug changes no name")
    before = {reader: names(reader) for reader in instances}
    same({reader: register(reader) for reader in instances}, before, "PCSC-219 nor does registering all of them again")
    old = os.path.join(RUN, instances[TWIN] + ".reader")
    unplug(TWIN, tidy=False)
    same(plug(TWIN), [GEMPLUS + " 00 00"], "one that is back before its former life was cleaned up has its number")
    os.unlink(old)


def restarted():
    """A number stays with a reader whose handler crashed or was stopped, also where a smaller one is free."""
    for reader in instances:
        unregister(reader)
    first, second = (usb_handler(model("node", reader)[0].split("=")[1]) for reader in (TWIN, TWIN_2))
    same((first.name, second.name), (GEMPLUS + " 00 00", GEMPLUS + " 01 00"), "two equal readers with handlers")
    first.stop()
    second.stop(signal.SIGKILL)
    second.start()
    same(second.name, GEMPLUS + " 01 00", "PCSC-219 killed and started again: the name is the same")
    second.stop()
    second.start()
    same(second.name, GEMPLUS + " 01 00", "PCSC-219 stopped and started again: so it is")
    same(call(Context().list).value, [GEMPLUS + " 01 00"], "and the library lists it")
    second.stop()


def left_out():
    """With handlers of their own sockets, which read the environment themselves."""
    for reader in (DUAL, TWIN):
        model("count", reader, "reset")
    os.environ[IGNORE] = "Contactless:Gemplus"
    dual = usb_handler(model("node", DUAL)[0].split("=")[1])
    twin = usb_handler(model("node", TWIN)[0].split("=")[1])
    del os.environ[IGNORE]
    name = "Model Dual Reader [Contact] (EMU000) 00 00"
    same(call(Context().list).value, [name], "of several interfaces only those that are named are left out")
    same(dual.lines("reader"), ["1 " + name], "the other keeps its slot")
    same(dual.lines("ignored"), [f'Model Dual Reader [Contactless] (EMU000) ("Contactless" in {IGNORE})'], "with the reason")
    context = Context()
    outcome = call(context.connect, name)
    if ok(outcome.value, "the one that is listed works", outcome, dual.said):
        same(call(outcome.value.transmit, give(9)).value, pattern(9), "as before")
        call(outcome.value.disconnect)
    status, said = output(os.path.join(B, "reader-ctl"), "status", dual.instance)
    ok(status == 0 and "not listed" in said and name in said and "1 more" not in said, "reader-ctl status shows both", said)
    counters = count(DUAL)
    ok(counters["card.0.cold"] == 0 and counters["card.1.cold"] > 0,
       "the card in the one that is not listed is not powered", counters)
    same(count(TWIN)["claims"], 0, "a device of which nothing is listed is not claimed", twin.said)
    ok(twin.is_alive(), "its handler is there all the same", twin.said)
    status, said = output(os.path.join(B, "reader-ctl"), "detach", twin.instance)
    same(status, 0, "reader-ctl detach ends it", said)
    same(twin.wait(5), 0, "with status 0", twin.said)


instances = {reader: instance_of(node) for reader, node in enumerate(nodes())}
first_names()
at_boot()
replugged()
restarted()
left_out()
finish()
