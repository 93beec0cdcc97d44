#include "local_agent/python_runner.hpp"

namespace bai::server::local {

std::string_view python_runner() {
  static constexpr std::string_view kText = R"PY(
import _ast, builtins, getpass, io, json, os, select, signal, struct, sys, threading, types

def start():
    channel, answers = 3, 4
    os.set_inheritable(channel, False)
    os.set_inheritable(answers, False)
    own_pid = os.getpid()
    main_thread = threading.main_thread()

    # --- interrupts: raised only inside user code, never in the middle of our own bookkeeping ---
    running = held = pending = False

    def on_interrupt(number, frame):
        nonlocal pending
        if not running:
            return
        if held:
            pending = True
            return
        raise KeyboardInterrupt

    class Held:
        def __enter__(self):
            nonlocal held
            self.outer = held
            held = True
        def __exit__(self, *ignored):
            nonlocal held, pending
            held = self.outer
            if pending and not held:
                pending = False
                if running:
                    raise KeyboardInterrupt

    def on_main():
        return threading.current_thread() is main_thread and os.getpid() == own_pid

    # --- messages ---
    send_lock = threading.RLock()
    received = bytearray()

    def send(message):
        text = json.dumps(message).encode()
        data = memoryview(struct.pack('>I', len(text)) + text)
        with send_lock:
            while data:
                data = data[os.write(channel, data):]

    def receive():
        while True:
            if len(received) >= 4:
                size = struct.unpack_from('>I', received)[0]
                if len(received) >= 4 + size:
                    with Held():
                        message = json.loads(bytes(received[4:4 + size]))
                        del received[:4 + size]
                    return message
            select.select([channel], [], [])
            with Held():
                data = os.read(channel, 65536)
                if not data:
                    os._exit(0)
                received.extend(data)

    # --- output: the order between stdout and stderr is kept by a barrier at each change ---
    order_lock = threading.RLock()
    last_stream = None
    barriers = 0

    def barrier():
        nonlocal barriers
        barriers += 1
        send({'event': 'barrier', 'n': barriers})
        while True:
            data = os.read(answers, 4)
            if not data:
                os._exit(0)
            if struct.unpack('>I', data)[0] >= barriers:
                return

    class Stream(io.FileIO):
        def write(self, data):
            nonlocal last_stream
            if os.getpid() == own_pid:
                if self is raw_err and not sys_out.closed:
                    sys_out.flush()
                if last_stream is not self:
                    if on_main():
                        with Held(), order_lock:
                            if last_stream is not None:
                                barrier()
                            last_stream = self
                    else:
                        with order_lock:
                            if last_stream is not None:
                                barrier()
                            last_stream = self
            return super().write(data)

    def text_stream(raw):
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding='utf-8',
                                errors='backslashreplace', line_buffering=True)

    raw_out, raw_err = Stream(1, 'w', closefd=False), Stream(2, 'w', closefd=False)
    raw_out.name, raw_err.name = '<stdout>', '<stderr>'
    sys_out, sys_err = text_stream(raw_out), text_stream(raw_err)

    # --- input ---
    inputs = 0

    def ask(prompt, password):
        nonlocal inputs
        if os.getpid() != own_pid:
            raise EOFError('input is not available in a child process')
        if not on_main() or not running:
            raise RuntimeError('input is available in the main thread only')
        if prompt:
            sys.stdout.write(str(prompt))
        sys.stdout.flush()
        with Held():
            inputs += 1
            number = inputs
            send({'event': 'input', 'n': number, 'password': password})
        while True:
            message = receive()
            if message.get('op') == 'input' and message.get('n') == number:
                return message.get('text', '')

    class Input(io.TextIOBase):
        encoding, errors = 'utf-8', 'strict'
        def readable(self): return True
        def readline(self, size=-1): return ask('', False) + '\n'
        def read(self, size=-1): return self.readline()
        def isatty(self): return False
        def fileno(self): return 0

    def ask_input(prompt='', /):
        return ask(prompt, False)

    def ask_password(prompt='Password: ', stream=None):
        return ask(prompt, True)

    sys.stdout, sys.stderr, sys.stdin = sys_out, sys_err, Input()
    builtins.input = ask_input
    getpass.getpass = ask_password

    # --- user code ---
    user = types.ModuleType('__main__')
    user.__builtins__ = builtins
    sys.modules['__main__'] = user
    sys.argv = ['']
    sys.path[0] = ''
    runs = 0

    def report(error, name, code, skip):
        import linecache, traceback
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        trace = error.__traceback__
        while skip and trace is not None:
            trace, skip = trace.tb_next, skip - 1
        if sys.excepthook is not sys.__excepthook__:
            sys.excepthook(type(error), error, trace)
        else:
            traceback.print_exception(type(error), error, trace, file=sys.stderr)

    def evaluate(tree, name):
        tail = None
        if tree.body and isinstance(tree.body[-1], _ast.Expr):
            tail = _ast.Expression(tree.body.pop().value)
        if tree.body:
            exec(compile(tree, name, 'exec', dont_inherit=True), user.__dict__)
        if tail is not None:
            value = eval(compile(tail, name, 'eval', dont_inherit=True), user.__dict__)
            sys.displayhook(value)

    def guarded(code, name):
        nonlocal running
        try:
            tree = compile(code, name, 'exec', 0x400, dont_inherit=True)
        except BaseException as error:  # also null bytes and too deep nesting
            report(error, name, code, 99)
            return 1
        try:
            running = True
            evaluate(tree, name)
            return 0
        except SystemExit as error:
            if error.code is None:
                return 0
            if isinstance(error.code, int):
                return error.code & 0xff
            print(error.code, file=sys.stderr)
            return 1
        except KeyboardInterrupt as error:
            running = False
            report(error, name, code, 2)
            return 130
        except BaseException as error:
            report(error, name, code, 2)
            return 1
        finally:
            running = False

    def run(code):
        nonlocal runs, running, pending
        runs += 1
        pending = False
        try:
            status = guarded(code, '<run %d>' % runs)
        except BaseException as error:  # an interrupt during the report, a broken user hook
            running = False
            sys_err.write('%s: %s\n' % (type(error).__name__, error))
            status = 1
        in_child = os.getpid() != own_pid  # user code forked and came back here
        for stream in (sys.stdout, sys_out, sys.stderr, sys_err):
            try:
                stream.flush()
            except Exception:
                pass
        if in_child:
            os._exit(status)
        if signal.getsignal(signal.SIGINT) is not on_interrupt:
            signal.signal(signal.SIGINT, on_interrupt)
        send({'event': 'finished', 'exitCode': status})

    def complete(text, options, limit=200):
        import re, rlcompleter
        line, col = options.get('line'), options.get('col')
        if not isinstance(line, str) or not line:
            line, col = (text.splitlines() or [''])[-1], None
        if isinstance(col, int) and 0 <= col <= len(line):
            line = line[:col]
        word = re.search(r'[\w.]*$', line).group(0)
        found, seen = [], set()
        if word:
            completer = rlcompleter.Completer(user.__dict__)
            for index in range(limit):
                item = completer.complete(word, index)
                if item is None:
                    break
                item = item.rstrip('(): ')
                if item not in seen:
                    seen.add(item)
                    found.append(item.encode('utf-8', 'replace').decode())
        return found

    signal.signal(signal.SIGINT, on_interrupt)
    send({'event': 'ready'})
    while True:
        message = receive()
        op = message.get('op')
        if op == 'run':
            run(message['code'])
        elif op == 'complete':
            try:
                running = True  # looking at attributes may run user code: let it be interrupted
                items = complete(message.get('text') or '', message.get('options') or {})
            except BaseException:
                items = []
            running = False
            send({'event': 'completions', 'items': items})

keep_runner_alive = sys.modules['__main__']
start()
)PY";
  return kText;
}

std::string_view shell_runner() {
  static constexpr std::string_view kText = R"SH(
trap ':' INT
__bai_run() { eval "$1" 3<&- 4>&-; }
while IFS= read -r -d '' -u 3 __bai_code; do
  trap 'return 130' INT
  __bai_run "$__bai_code"
  __bai_status=$?
  trap ':' INT
  printf '%d\n' "$__bai_status" >&4
done
)SH";
  return kText;
}

}  // namespace bai::server::local
