//! The API's socket: made so that it is never open to the wrong user, and that two daemons never share it.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::{UnixListener as StdListener, UnixStream},
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// Why the API's socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum BindError {
    #[error(
        "another vmswitchd serves '{}': stop it, or give this one its own --socket and --run-dir", .0.display()
    )]
    InUse(PathBuf),
    #[error("'{}' exists and is no socket: move it away, or choose another --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot {what} '{}': {error}; check that the directory exists and is writable", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

/// A socket that listens. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Listener {
    pub(super) inner: UnixListener,
    path: PathBuf,
    /// Held as long as the daemon serves; the kernel lets go of it however the daemon ends.
    _lock: File,
}

impl Listener {
    /// Listens at `path` with mode 0660, owned by `group` where given. A stale socket is replaced. To be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// Where another daemon serves the path, or the host refuses it.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, BindError> {
        let lock = lock(path)?;
        check_free(path)?;
        let inner = make(path, group)?;
        let inner = UnixListener::from_std(inner).map_err(io_error("listen at", path))?;
        Ok(Self { inner, path: path.into(), _lock: lock })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the API's socket was not removed");
        }
    }
}

/// Settles between two daemons that start at once, and holds also while a daemon is too busy to answer.
fn lock(path: &Path) -> Result<File, BindError> {
    let at = beside(path, ".lock");
    let file = File::create(&at).map_err(io_error("make the lock file", &at))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse(path.into())),
        Err(TryLockError::Error(error)) => Err(BindError::Io { what: "lock", path: at, error }),
    }
}

/// Only a socket that nobody answers at may be replaced.
fn check_free(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BindError::Io { what: "look at", path: path.into(), error }),
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket(path.into())),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(BindError::InUse(path.into())),
        Ok(_) => Ok(()),
    }
}

/// The socket gets its owner and mode under another name, so that at `path` it is never wider than it should be.
fn make(path: &Path, group: Option<u32>) -> Result<StdListener, BindError> {
    let new = beside(path, ".new");
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(BindError::Io { what: "replace", path: new, error });
    }
    let listener = StdListener::bind(&new).map_err(io_error("make the socket", &new))?;
    chown(&new, None, group).map_err(io_error("give to its group", &new))?;
    fs::set_permissions(&new, Permissions::from_mode(0o660)).map_err(io_error("set the mode of", &new))?;
    fs::rename(&new, path).map_err(io_error("make the socket", path))?;
    listener.set_nonblocking(true).map_err(io_error("set up", path))?;
    Ok(listener)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError::Io { what, path: path.into(), error }
}
