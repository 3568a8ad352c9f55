#!/bin/bash
# The first process of a node: makes what containers may write writable, starts containerd, kubelet and proxy, and ends
# with the first of them that ends. The engine then starts the node again, as a machine would reboot.
#
# Wants NODE_NAME and NODE_IP, and certificates and kubeconfigs in /etc/reeve.
set -euo pipefail
: "${NODE_NAME:?the name of this node}" "${NODE_IP:?the address of this node}"
socket=/run/containerd/containerd.sock

# Forwarding and its like are this network namespace's own; cgroups are those of this container, so that what pods use
# counts as its, and goes with it.
mount -o remount,bind,rw /proc/sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -o remount,bind,rw /sys/fs/cgroup
    # Controllers are handed down only by a cgroup without processes of its own.
    mkdir -p /sys/fs/cgroup/system
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/system/cgroup.procs 2>/dev/null || true
    sed 's/\(^\| \)/ +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
else
    for hierarchy in /sys/fs/cgroup/*; do
        if mountpoint -q "$hierarchy"; then mount -o remount,bind,rw "$hierarchy"; fi
    done
fi
# Mounts of volumes reach containers and the other way round.
mount --make-rshared /

trap 'trap - TERM; kill $(jobs -p) 2>/dev/null; wait' TERM INT
# What is left of before a restart: dead mounts' folders and sockets.
rm -rf /run/containerd
containerd &
until [ -S "$socket" ]; do
    kill -0 $! || { echo "containerd ended" >&2; exit 1; }
    sleep 0.05
done
ctr --address "$socket" --namespace k8s.io images import /usr/share/reeve/images.tar

proxy --kubeconfig=/etc/reeve/proxy.kubeconfig --hostname-override="$NODE_NAME" --cluster-cidr=10.244.0.0/16 \
    --cluster-dns=10.96.0.10 --cluster-domain=cluster.local --cni-conf-dir=/etc/cni/net.d &
# The machine's disk belongs to others too: how full it is says nothing of this node, and its images cannot be pulled again.
kubelet --kubeconfig=/etc/reeve/kubelet.kubeconfig --hostname-override="$NODE_NAME" --node-ip="$NODE_IP" \
    --address="$NODE_IP" --container-runtime-endpoint="unix://$socket" --root-dir=/var/lib/kubelet \
    --cluster-dns=10.96.0.10 --cluster-domain=cluster.local --client-ca-file=/etc/reeve/ca.crt \
    --tls-cert-file=/etc/reeve/kubelet-server.crt --tls-private-key-file=/etc/reeve/kubelet-server.key \
    --eviction-hard='memory.available<100Mi,nodefs.available<1%,imagefs.available<1%' --image-gc-high-threshold=100 \
    --pod-infra-container-image=reeve.local/pause:1 &
status=0
wait -n || status=$?
echo "a program of $NODE_NAME ended with $status" >&2
exit "$status"
