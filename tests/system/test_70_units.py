# SPDX-License-Identifier: MIT
"""What systemd and udev say of our files."""
from steps import await_readers, node_of, service


def test_verify(vm):
    """systemd-analyze finds nothing to say about any unit."""
    vm.plug()
    instance, = await_readers(vm, 1)
    vm.run('mkdir -p /run/verify')
    units = vm.run('cd /usr/lib/systemd/system && ls ifdhandler*').split()
    assert len(units) >= 5, units
    named = [unit.replace('@.', f'@{instance}.') for unit in units]
    status, output = vm.try_run(f'systemd-analyze verify --man=no {" ".join(named)} 2>&1 | grep -i ifdhandler')
    assert output == '', output


def test_rules(vm):
    """udevadm test runs the rules on a reader: no complaint, and the properties and permissions that are wanted."""
    vm.plug()
    instance, = await_readers(vm, 1)
    path = vm.run(f'udevadm info -q path {node_of(instance)}')
    output = vm.run(f'udevadm test --action=change {path} 2>&1')
    complaints = [line for line in output.splitlines() if '71-ifdhandler' in line and
                  any(word in line.lower() for word in ('invalid', 'unknown', 'failed', 'ignoring', 'error'))]
    assert not complaints, complaints
    assert f'ifdhandler@{instance}.service' in output and 'PCSCLITE_IGNORE=1' in output, output
    assert vm.run(f'cat /sys{path}/power/persist') == '0'
    properties = vm.run(f'udevadm info -q property {node_of(instance)}').splitlines()
    assert 'IFDHANDLER_DRIVER=ccid' in properties, properties
    tags = [line for line in properties if line.startswith('CURRENT_TAGS=')][0]
    assert ':systemd:' in tags and ':uaccess:' not in tags, tags


def test_sandbox(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    rating = vm.run(f'systemd-analyze security --no-pager {service(instance)} | tail -n 1')
    exposure = float(rating.split(': ')[1].split()[0])
    assert exposure <= 1.0, rating
