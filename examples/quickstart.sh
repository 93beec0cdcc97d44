#!/usr/bin/env bash
# From an empty machine to a running session: installs what is missing, builds, starts a server with
# its bundled agent, runs a program in a session, cleans up.
#   QUICKSTART_KEEP=1   leaves the server running and says how to reach it
#   QUICKSTART_PORT=N   listens there instead of on 8080, and for agents' events on N+1000
set -euo pipefail
cd "$(dirname "$0")/.."
port=${QUICKSTART_PORT:-8080}
event_port=$((port + 1000))
endpoint=http://127.0.0.1:$port
data=$PWD/build/quickstart
arch=$(uname -m)
bin=build/release/bin
export BACKEND_ENDPOINT=$endpoint
export BACKEND_ACCESS_KEY=AKIANABBDUSEREXAMPLE
export BACKEND_SECRET_KEY=C8qnIo29EZvXkPK_MXcuAakYTy4NYrxwmCEyNPlf

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

# Kernels outlive their server, by design; these ones are not to outlive the quickstart.
end_kernels() {
  local file pid
  for file in /proc/[0-9]*/cmdline; do
    pid=${file#/proc/}
    if tr '\0' ' ' 2>/dev/null <"$file" | grep -qF -- "$data/kernels/"; then
      kill -9 "${pid%/cmdline}" 2>/dev/null || true
    fi
  done
}

say "1. Packages"
bash tests/install_packages.sh examples/packages.txt
echo "all there"

say "2. Build (release; a few minutes the first time)"
if [ ! -f build/release/build.ninja ]; then
  mkdir -p build
  cmake --preset release -DBAI_TESTS=OFF -DBAI_BENCHMARKS=OFF -DBAI_EXAMPLES=OFF >build/quickstart.log 2>&1 || {
    cat build/quickstart.log; exit 1; }
fi
cmake --build build/release --parallel "${BAI_JOBS:-$(nproc)}" --target bai-manager-server baictl

say "3. A server with a fresh database and its bundled agent"
# By its name too: after a restart of the machine the number may be somebody else's.
earlier=$(cat "$data/server.pid" 2>/dev/null || true)
if [ -n "$earlier" ] && grep -qs bai-manager-server "/proc/$earlier/cmdline"; then
  echo "stopping the server that an earlier run left behind"
  kill "$earlier"
  for _ in $(seq 100); do kill -0 "$earlier" 2>/dev/null || break; sleep 0.1; done
fi
end_kernels
for taken in "$port" "$event_port"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$taken") 2>/dev/null; then
    echo "Port $taken is taken by another program. Stop it, or choose another: QUICKSTART_PORT=9080 $0" >&2
    exit 1
  fi
done
rm -rf "$data"
mkdir -p "$data"
sed "s/\"x86_64\"/\"$arch\"/" examples/fixture.json >"$data/fixture.json"
"$bin/bai-manager-server" serve --data "$data" --listen "127.0.0.1:$port" --no-internal \
  --event-listen "tcp://127.0.0.1:$event_port" --fixture "$data/fixture.json" --with-local-agent \
  >"$data/server.log" 2>&1 &
server=$!
echo "$server" >"$data/server.pid"
stop() {
  [ -n "${server:-}" ] || return 0
  kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true
  server=""
  end_kernels
}
trap stop EXIT
for _ in $(seq 100); do
  curl -fsS -o /dev/null "$endpoint/health/readyz" 2>/dev/null && break
  kill -0 "$server" 2>/dev/null || { echo "The server did not start:" >&2; tail -n 20 "$data/server.log" >&2; exit 1; }
  sleep 0.05
done
show curl -sS "$endpoint/"
echo
for _ in $(seq 100); do
  "$bin/baictl" agent ls 2>/dev/null | grep -q ALIVE && break
  sleep 0.05
done
show "$bin/baictl" agent ls

say "4. A session"
show "$bin/baictl" session create local/python:3 -t first-light -r cpu=1 -r mem=512m --architecture "$arch"
show "$bin/baictl" session ls

say "5. A real program in it"
program='import platform, math
print("Hello from Python", platform.python_version(), "in process", __import__("os").getpid())
print("The first primes:", [n for n in range(2, 40) if all(n % d for d in range(2, math.isqrt(n) + 1))])'
printf '%s\n' "$program" | sed 's/^/    /'
printf '$ %s\n' "$bin/baictl session exec first-light -c \"\$program\""
"$bin/baictl" session exec first-light -c "$program"

say "6. Removing it"
show "$bin/baictl" session rm first-light
for _ in $(seq 100); do
  "$bin/baictl" session ls | grep -q first-light || break
  sleep 0.05
done
show "$bin/baictl" session ls --all

if [ "${QUICKSTART_KEEP:-0}" = 1 ]; then
  trap - EXIT
  disown "$server"
  say "The server goes on (process $server; log: $data/server.log)"
  cat <<END
endpoint    $endpoint
access key  $BACKEND_ACCESS_KEY
secret key  $BACKEND_SECRET_KEY
Try:
  $bin/baictl login --endpoint $endpoint --access-key $BACKEND_ACCESS_KEY --secret-key $BACKEND_SECRET_KEY
  $bin/baictl run --architecture $arch -c 'print(6 * 7)'
  kill $server      # sessions go on and are found again: end them first with baictl session rm
END
else
  stop
  say "Done."
  cat <<END
What to try next:
  QUICKSTART_KEEP=1 bash examples/quickstart.sh    leaves the server running
  bash tests/run.sh                                 builds and tests everything
  README.md                                         embedding, configuration, where things are
END
fi
