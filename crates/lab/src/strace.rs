//! strace on a process that runs already: to see what it asks of the kernel, and to kill it there or let it fail.

use crate::process::Process;
use crate::run::wait_until;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to a system call of the traced process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The process is killed where it enters the call, which then does not take place.
    Kill,
    /// The call fails with this error (`ENOSPC`) and does nothing.
    Fail(&'static str),
    /// The call takes place, and the thread does not go on after it for so long: time to kill the process there.
    Hold(Duration),
}

/// A system call that a process makes again when it does the same again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The call's name.
    pub name: String,
    /// The file that it works on by a descriptor; `None` for sockets and for calls that name files.
    pub file: Option<String>,
    /// Which of its thread's calls of that name on that file since tracing began it is, from 1.
    pub nth: u32,
}

/// One system call of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where it was made.
    pub place: Place,
    /// The thread.
    pub thread: u32,
    /// Its arguments and result as strace prints them, descriptors with their paths.
    pub text: String,
}

/// A tracer; it lets go of the process when dropped.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    output: PathBuf,
    _dir: tempfile::TempDir,
}

impl Strace {
    /// Records all calls of these names.
    pub fn record(pid: u32, names: &[&str]) -> Result<Strace> {
        Self::attach(pid, &[format!("trace={}", names.join(","))], None)
    }

    /// Does something to the call at a place, in each thread that gets there from now on.
    pub fn inject(pid: u32, place: &Place, fate: Fate) -> Result<Strace> {
        let fate = match fate {
            Fate::Kill => "signal=SIGKILL".to_owned(),
            Fate::Fail(error) => format!("error={error}"),
            Fate::Hold(time) => format!("delay_exit={}", time.as_micros()),
        };
        let (name, nth) = (&place.name, place.nth);
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:{fate}:when={nth}"));
        Self::attach(pid, &[trace, inject], place.file.as_deref())
    }

    fn attach(pid: u32, expressions: &[String], file: Option<&str>) -> Result<Strace> {
        let dir = crate::temp_dir()?;
        let (output, log) = (dir.path().join("calls"), dir.path().join("log"));
        // Inside the process's network namespace: elsewhere strace cannot tell what its netlink sockets are for.
        let (mut command, pid) = (Command::new("nsenter"), pid.to_string());
        command.args(["--target", &pid, "--net", "strace", "-f", "-y", "-s", "200", "-p", &pid, "-o"]);
        command.arg(&output);
        for expression in expressions {
            command.args(["-e", expression]);
        }
        // Calls on other files are then not counted either.
        command.args(file.iter().flat_map(|file| ["-P", file]));
        let mut process = Process::spawn(&mut command, &log)?;
        process.wait_for_log("attached", PATIENCE)?;
        Ok(Strace { process, output, _dir: dir })
    }

    /// Lets go of the process, which runs on; what was recorded.
    pub fn detach(mut self) -> Result<Vec<Call>> {
        // strace detaches when asked to end, and ends by itself when what it traces has.
        self.process.terminate(PATIENCE)?;
        let text = std::fs::read(&self.output).context("strace wrote nothing")?;
        Ok(calls(&String::from_utf8_lossy(&text)))
    }

    /// Waits until nothing is left to trace: every thread of the process has ended.
    pub fn wait_for_end(mut self) -> Result<()> {
        wait_until("end of the traced process", PATIENCE, || Ok(self.process.ended()?.is_some()))
    }
}

fn calls(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(thread) = thread.parse() else { continue };
        if let Some((name, arguments)) = beginning(rest) {
            let (name, file) = (name.to_owned(), file_of(arguments));
            let same = |c: &&Call| c.thread == thread && c.place.name == name && c.place.file == file;
            let nth = 1 + calls.iter().filter(same).count() as u32;
            calls.push(Call { place: Place { name, file, nth }, thread, text: arguments.to_owned() });
        }
        if is_made_again(rest) {
            let last = calls.iter().rposition(|call| call.thread == thread);
            last.map(|at| calls.remove(at));
        }
    }
    calls
}

/// The name and the arguments of a call that begins in this line. One that another thread interrupts in the listing is
/// resumed on a line of its own, without its name.
fn beginning(line: &str) -> Option<(&str, &str)> {
    let (name, arguments) = line.trim_start().split_once('(')?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some((name, arguments))
}

/// Whether the kernel makes the call of this line once more by itself: what wrote a setting of an interface while somebody
/// else held the lock of all interfaces did nothing, and would have to be counted twice one time and once the next.
fn is_made_again(line: &str) -> bool {
    line.contains("= ? ERESTART")
}

/// The path in `5</a/path>, …`.
fn file_of(arguments: &str) -> Option<String> {
    let (descriptor, rest) = arguments.split_once('<')?;
    let path = rest.split_once('>')?.0;
    let is_file = descriptor.bytes().all(|b| b.is_ascii_digit()) && path.starts_with('/');
    is_file.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_the_kernel_makes_again_is_one_call() {
        let text = "12 write(4</a>, \"1\", 1) = ? ERESTARTNOINTR (To be restarted)\n\
                    12 write(4</a>, \"1\", 1 <unfinished ...>\n\
                    13 write(5</a>, \"2\", 1) = 1\n\
                    12 <... write resumed>) = ? ERESTARTNOINTR (To be restarted)\n\
                    12 write(4</a>, \"1\", 1) = 1\n";
        let found: Vec<_> = calls(text).into_iter().map(|c| (c.thread, c.place.nth)).collect();
        assert_eq!(found, [(13, 1), (12, 1)]);
    }

    #[test]
    fn calls_are_numbered_for_each_thread_name_and_file() {
        let text = "12 sendto(3<socket:[9]>, \"x\", 1) = 1\n13 sendto(3, \"y\", 1 <unfinished ...>\n\
                    12 rename(\"a\", \"</b>\") = 0\n13 <... sendto resumed>) = 1\n13 sendto(3, \"z\", 1) = 1\n\
                    12 write(4</a>, \"<\", 1) = 1\n12 write(4</b>, \"\", 1) = 1\n12 write(4</a>, \"\", 1) = 1\n\
                    12 +++ exited with 0 +++\n";
        let found: Vec<_> = calls(text).into_iter().map(|c| (c.thread, c.place)).collect();
        let call = |thread, name: &str, file: Option<&str>, nth| {
            (thread, Place { name: name.to_owned(), file: file.map(str::to_owned), nth })
        };
        let wanted = [
            call(12, "sendto", None, 1),
            call(13, "sendto", None, 1),
            call(12, "rename", None, 1),
            call(13, "sendto", None, 2),
            call(12, "write", Some("/a"), 1),
            call(12, "write", Some("/b"), 1),
            call(12, "write", Some("/a"), 2),
        ];
        assert_eq!(found, wanted);
    }
}
