"""From exec of `serve` on an empty directory to its first answer; resident memory when idle."""

import socket
import subprocess
import tempfile
import time

import bench_lib

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_answer(port, process, began):
    while time.monotonic() < began + 20:
        if process.poll() is not None:
            raise SystemExit(f"serve ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(REQUEST)
                if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - began
        except ConnectionRefusedError:
            time.sleep(0.0005)
    raise SystemExit("no answer within 20 s")


def run(idle_seconds):
    """(seconds to the first answer, resident KiB when idle, milliseconds of a flush)"""
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as folder:
        port = free_port()
        began = time.monotonic()
        process = subprocess.Popen(
            [bench_lib.program("bai-manager-server"), "serve", "--data", folder, "--listen",
             f"127.0.0.1:{port}", "--internal-listen", "127.0.0.1:0", "--event-listen",
             "tcp://127.0.0.1:*"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            took = first_answer(port, process, began)
            time.sleep(idle_seconds)
            memory = bench_lib.status_value(process.pid, "VmRSS")
        finally:
            process.terminate()
            process.wait(20)
        return took, memory, bench_lib.flush_ms(folder, 20)


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--idle-seconds", type=float, default=1)
    options = bench_lib.parse(parser)
    runs = [run(options.idle_seconds) for _ in range(options.repeat)]
    times = [took for took, _, _ in runs]
    bench_lib.emit("first_answer", runs=len(runs), best_ms=round(min(times) * 1e3, 1),
                   median_ms=round(bench_lib.percentile(times, 0.5) * 1e3, 1),
                   worst_ms=round(max(times) * 1e3, 1),
                   idle_rss_mib=round(max(memory for _, memory, _ in runs) / 1024, 1),
                   flush_ms=bench_lib.percentile([flush for _, _, flush in runs], 0.5))


if __name__ == "__main__":
    main()
