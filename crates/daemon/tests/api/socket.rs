//! The socket's file: its owner and mode, a stale one, one in use.

use crate::Api;
use daemon::api::{BindError, Listener, Options};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixListener,
    },
};

#[tokio::test]
async fn the_socket_is_for_its_group_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let listener = Listener::bind(&path, Some(61_234)).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.gid()), (0o660, 61_234));
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    // A program that another test starts has a copy of it until it runs.
    while std::os::unix::net::UnixStream::connect(&path).is_ok() {
        std::thread::yield_now();
    }
    assert!(Listener::bind(&path, None).is_ok());
}

#[tokio::test]
async fn a_live_daemon_is_left_alone() {
    let api = Api::with(Options::default());
    let error = Listener::bind(&api.socket(), None).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(error.to_string().contains("another vmswitchd serves"), "{error}");
    assert_eq!(api.get("/v1/switches").status, 200);
}

#[tokio::test]
async fn what_answers_is_left_alone_though_it_holds_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let _other = UnixListener::bind(&path).unwrap();
    assert!(matches!(Listener::bind(&path, None), Err(BindError::InUse(_))));
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Listener::bind(&path, None), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let error = Listener::bind("/nonexistent/api.sock".as_ref(), None).unwrap_err();
    assert!(error.to_string().contains("check that the directory exists"), "{error}");
}
