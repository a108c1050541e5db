# SPDX-License-Identifier: MIT
"""The container itself, without our build: real systemd and udevd, a network bridge in the place of a device.

Uevents belong to a network namespace, so adding a bridge in the container is a plug that its udevd sees.
"""
INSTALLED = False
RULE = 'ACTION!="remove", SUBSYSTEM=="net", KERNEL=="rd*", TAG+="systemd", ENV{SYSTEMD_WANTS}+="plugged@%k.service"\n'
UNIT = '''[Unit]
BindsTo=sys-subsystem-net-devices-%i.device
After=sys-subsystem-net-devices-%i.device
[Service]
ExecStart=sleep infinity
'''


def test_udev_starts_a_unit(container):
    container.put('/etc/udev/rules.d/99-test.rules', RULE.encode())
    container.put('/etc/systemd/system/plugged@.service', UNIT.encode())
    container.run('systemctl daemon-reload; udevadm control --reload')
    container.run('ip link add rd0 type bridge')
    container.wait_for('systemctl -q is-active plugged@rd0.service')
    container.run('ip link del rd0')
    container.wait_for('! systemctl -q is-active plugged@rd0.service')
    assert container.run('systemctl --failed --no-legend') == ''
