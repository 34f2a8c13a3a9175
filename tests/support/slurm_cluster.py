# SPDX-License-Identifier: Apache-2.0
"""A real Slurm of two nodes on this machine: munged, slurmctld and two slurmd in a private folder, without systemd or
cgroups. For root, as the daemons need host names and shared memory of their own."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "unshare")
NODES = ("n1", "n2")
OWN = ("--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
CONFIGURATION = """
ClusterName=selvage
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=1
SlurmdTimeout=5
KillWait=2
SlurmctldTimeout=3
MaxArraySize=100
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
NodeName=n[1-2] NodeHostname=n[1-2] NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=4 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    """Why there can be no cluster here; "" where there can."""
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: slurm-wlm, munge)"
    if os.geteuid() != 0:
        return "a cluster inside a test needs root"
    tried = subprocess.run([find("unshare"), *OWN, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True,
                           text=True, check=False)
    return "" if tried.returncode == 0 else f"no host names and mounts of one's own here: {tried.stderr.strip()}"


def find(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_ports(count):
    """Consecutive ones that nobody uses now."""
    for first in range(16800 + os.getpid() % 1000 * 8, 60000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise OSError("no free ports")


class SlurmCluster:
    """Used as `with SlurmCluster() as cluster:`; cluster.folder is shared by the nodes."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="selvage-slurm-"))
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        for name in ("state", "log", "run", *(f"{kind}/{node}" for kind in ("spool", "tmp") for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        port = free_ports(3)
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            folder=self.folder, host=socket.gethostname(), port=port, first=port + 1, last=port + 2))
        key = self.folder / "run/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.folder.chmod(0o755)
        self.processes = {}
        try:
            run, log = self.folder / "run", self.folder / "log"
            self.call("munged", f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid",
                      f"--log-file={log}/munged.log", f"--seed-file={run}/seed")
            self.call("slurmctld")
            for node in NODES:
                self.start(node)
            self.wait_until(lambda: self.idle_nodes() == len(NODES), 30, "the nodes are not idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run([find("scontrol"), "shutdown"], env=self.environment, capture_output=True, check=False)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in ("slurmctld.pid", "munged.pid"):
            try:
                os.kill(int((self.folder / "run" / name).read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, node):
        """With a host name, processes and shared memory of its own: else the segments of the ranks of different nodes
        would be the same."""
        self.processes[node] = subprocess.Popen(
            [find("unshare"), *OWN, "sh", "-c",
             f"hostname {node}; mount -t tmpfs tmpfs /dev/shm; exec {find('slurmd')} -D -N {node}"],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def lose(self, node):
        """Everything on it is killed, as when the power fails."""
        self.processes[node].kill()
        self.processes[node].wait()

    def call(self, name, *arguments):
        done = subprocess.run([find(name), *map(str, arguments)], env=self.environment, capture_output=True, text=True,
                              check=False, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"{name} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def idle_nodes(self):
        return len(self.call("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())

    def state(self, job):
        """As squeue has it, e.g. RUNNING; "" when the job is over."""
        done = subprocess.run([find("squeue"), "-h", "-j", str(job), "-o", "%T"], env=self.environment,
                              capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def wait_until(self, condition, seconds, what):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "".join(f"== {path}\n{path.read_text(errors='replace')[-2000:]}\n"
                               for path in sorted((self.folder / "log").iterdir()))
                raise AssertionError(f"{what} after {seconds} s\n{logs}")
            time.sleep(0.05)

    def start_now(self, job):
        """A job that was put back has to wait two minutes by Slurm's rules; here until the nodes have forgotten the
        steps that it had before, which Slurm would kill by their number."""
        time.sleep(4)
        subprocess.run([find("scontrol"), "update", f"job={job}", "StartTime=now"], env=self.environment,
                       capture_output=True, check=False)
