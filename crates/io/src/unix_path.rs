//! The file that a unix socket is reached by.

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with},
};
use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Why a unix socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnixPathError {
    /// Some program answers there.
    #[error("socket {} is in use by another program; stop that, or choose another path", .0.display())]
    InUse(PathBuf),
    /// It would be lost.
    #[error("{} exists and is no socket; remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// The kernel's limit.
    #[error("socket path {} is too long; it may have 107 bytes", .0.display())]
    TooLong(PathBuf),
    /// The directory is missing, say, or may not be written to.
    #[error("socket {} cannot be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
}

/// A socket bound to a path, which goes when the socket goes.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode, by which the file is known to be ours.
    file: Option<(u64, u64)>,
}

impl BoundSocket {
    /// Binds; a socket that nobody listens at any more is replaced.
    pub(crate) fn new(path: &Path, kind: SocketType) -> Result<Self, UnixPathError> {
        let fail = |error: Errno| UnixPathError::Open(path.to_owned(), error.into());
        let address = SocketAddrUnix::new(path).map_err(|_| UnixPathError::TooLong(path.to_owned()))?;
        let socket = new_socket(kind).map_err(fail)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address, kind)?;
                bind(&socket, &address).map_err(fail)?;
            }
            other => other.map_err(fail)?,
        }
        Ok(Self { socket, path: path.to_owned(), file: identity(path) })
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for BoundSocket {
    /// A file that another program put in its place stays.
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn new_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Only a refused connection proves that nobody is there: a full backlog or a socket of another kind is somebody.
fn remove_stale(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), UnixPathError> {
    let fail = |error| UnixPathError::Open(path.to_owned(), error);
    if !fs::symlink_metadata(path).map_err(fail)?.file_type().is_socket() {
        return Err(UnixPathError::NotASocket(path.to_owned()));
    }
    let probe = new_socket(kind).map_err(|error| fail(error.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(fail),
        _ => Err(UnixPathError::InUse(path.to_owned())),
    }
}
