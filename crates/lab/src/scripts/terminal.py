"""A terminal of 80 by 24 with a program in it, and what somebody in front of it sees.

Commands come line by line as JSON, answers go out so: {"wait": REGEX, "s": SECONDS} waits until the screen's text matches,
{"type": TEXT} types, {"signal": NUMBER} signals the program, {"end": SECONDS} waits until it ends. Every answer has the
screen; that to "end" also the exit status, whether the terminal's settings are as before, and the modes that are still set.

Only what programs of today send is understood (ECMA-48: CUP, CHA, VPA, ED, EL, CUU to CUB, and modes); attributes are ignored.
"""
import codecs, fcntl, json, os, pty, re, select, signal, struct, subprocess, sys, termios, time

ROWS, COLUMNS = 24, 80
SEQUENCE = re.compile(r"\x1b(?:\[([?>=]?)([0-9;]*)([@-~])|[()][0-9A-Za-z]|[78=>M])")

class Screen:
    def __init__(self):
        self.modes, self.rest = set(), ""
        self.clear()

    def clear(self):
        self.cells, self.row, self.column = [[" "] * COLUMNS for _ in range(ROWS)], 0, 0

    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.cells)

    def feed(self, text):
        text = self.rest + text
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    break
                if found.group(3):
                    self.control(found.group(1), found.group(2), found.group(3))
                at = found.end()
            else:
                self.put(text[at])
                at += 1
        self.rest = text[at:]

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == ROWS:
                self.cells, self.row = self.cells[1:] + [[" "] * COLUMNS], ROWS - 1
        elif character >= " ":
            if self.column == COLUMNS:
                self.column = 0
                self.put("\n")
            self.cells[self.row][self.column] = character
            self.column += 1

    def control(self, private, numbers, final):
        numbers = [int(number or 0) for number in numbers.split(";")]
        first = numbers[0]
        if private == "?" and final in "hl":
            for mode in numbers:
                (self.modes.add if final == "h" else self.modes.discard)(mode)
                if mode == 1049:
                    self.clear()
        elif final in "Hf":
            row, column = (numbers + [1])[:2]
            self.row, self.column = min(max(row, 1), ROWS) - 1, min(max(column, 1), COLUMNS) - 1
        elif final == "G":
            self.column = min(max(first, 1), COLUMNS) - 1
        elif final == "d":
            self.row = min(max(first, 1), ROWS) - 1
        elif final in "ABCD":
            step = max(first, 1)
            self.row = min(max(self.row + {"A": -step, "B": step}.get(final, 0), 0), ROWS - 1)
            self.column = min(max(self.column + {"C": step, "D": -step}.get(final, 0), 0), COLUMNS - 1)
        elif final == "K":
            start, end = {0: (self.column, COLUMNS), 1: (0, self.column + 1), 2: (0, COLUMNS)}[first]
            self.cells[self.row][start:end] = [" "] * (end - start)
        elif final == "J" and first == 0:
            self.cells[self.row][self.column:] = [" "] * (COLUMNS - self.column)
            for row in range(self.row + 1, ROWS):
                self.cells[row] = [" "] * COLUMNS
        elif final == "J":
            self.cells = [[" "] * COLUMNS for _ in range(ROWS)]

def settings():
    return termios.tcgetattr(slave)

def take_terminal():
    # Whoever runs the tests in the background may have put it off, and programs inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
before, screen, decoder = settings(), Screen(), codecs.getincrementaldecoder("utf-8")("replace")
environment = dict(os.environ, TERM="xterm-256color")
program = subprocess.Popen(
    sys.argv[1:], stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal, env=environment)

def pump(seconds):
    """Shows what comes within so long; false where nothing did."""
    if not select.select([master], [], [], seconds)[0]:
        return False
    screen.feed(decoder.decode(os.read(master, 65536)))
    return True

def until(seconds, is_it):
    end = time.monotonic() + seconds
    while True:
        while pump(0):
            pass
        if is_it() or time.monotonic() > end:
            return is_it()
        pump(0.02)

for line in sys.stdin:
    command, answer = json.loads(line), {}
    if "wait" in command:
        pattern = re.compile(command["wait"], re.M)
        answer["seen"] = until(command["s"], lambda: bool(pattern.search(screen.text())))
    elif "type" in command:
        os.write(master, command["type"].encode())
    elif "signal" in command:
        program.send_signal(command["signal"])
    elif "end" in command:
        answer["ended"] = until(command["end"], lambda: program.poll() is not None)
        until(0.1, lambda: False)
        answer["status"] = program.poll()
        answer["restored"] = settings() == before
        # 25 is the cursor's own mode, which is set while it is to be seen; it is at first.
        answer["modes"] = sorted(screen.modes - {25})
    print(json.dumps({**answer, "screen": screen.text()}), flush=True)
program.kill()
