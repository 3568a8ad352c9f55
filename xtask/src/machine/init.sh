#!/bin/sh
# What the emulated machine does: it becomes a host with cgroups of version 2, serves a folder by NFS, brings a
# testbed up, runs the tests on it, tells how they ended, and goes off.
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $folder; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
# The console is for the tests' results.
echo 1 > /proc/sys/kernel/printk
ip link set lo up
hostname machine
for module in overlay br_netfilter veth bridge dummy vxlan nf_conntrack nf_tables sctp nfs nfsd; do
    modprobe $module || echo "machine: no module $module"
done

mkdir -p /export
echo '/export *(rw,no_root_squash,insecure,no_subtree_check)' > /etc/exports
mount -t nfsd nfsd /proc/fs/nfsd
# Nobody has anything to claim back.
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo 1 > /proc/fs/nfsd/nfsv4gracetime
exportfs -ra
rpc.mountd --no-nfs-version 3
rpc.nfsd --no-nfs-version 3 2

export REEVE_WORKSPACE=/reeve/workspace.json REEVE_E2E=1 REEVE_E2E_DIR=/var/lib/reeve REEVE_E2E_MACHINE=/export
run() {
    uname -rv
    /reeve/xtask up --no-build --dir $REEVE_E2E_DIR &&
        xargs /reeve/end_to_end --test-threads=1 --nocapture < /reeve/tests &&
        /reeve/xtask down --dir $REEVE_E2E_DIR || return
    [ -d /reeve/tests-of-kubelet ] || return 0
    kubelet=$(cat /reeve/kubelet-path)
    mkdir -p "$(dirname "$kubelet")" && ln -s /reeve/kubelet-under-test "$kubelet"
    failed=0
    for test in /reeve/tests-of-kubelet/*; do
        echo "$test"
        $test --test-threads=1 || failed=$?
    done
    return $failed
}
# By way of a pipe, so that nobody takes the console for a terminal that can be painted on.
{
    run
    code=$?
    if [ $code != 0 ]; then
        tail -n 30 $REEVE_E2E_DIR/logs/*.log
    fi
    echo
    echo "machine: the tests ended with $code"
} 2>&1 | cat
sync
echo o > /proc/sysrq-trigger
sleep 60
