//! Terminals: the master that an OCI runtime hands over, its size and its modes.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Context, Error, Result};

/// Longest name that comes with a descriptor.
const MAX_NAME: usize = 4096;

/// Receives one descriptor and the name sent with it from a connected unix socket, as an OCI runtime sends the terminal's master to
/// `--console-socket` (SCM_RIGHTS). Further descriptors in the message are closed.
///
/// On a non-blocking socket the error is EAGAIN while nothing has come ([`Error::errno`]).
pub fn receive_fd(socket: impl AsFd) -> Result<(OwnedFd, String)> {
    let mut name = [0u8; MAX_NAME];
    // Room for more than the one that is expected, so that a peer that sends several cannot leak them into this process.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut name)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            other => break other.doing("receive console")?,
        }
    };
    let mut first: Option<OwnedFd> = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for fd in fds {
                first.get_or_insert(fd);
            }
        }
    }
    let fd = first.ok_or_else(|| Error::Invalid("the console message carries no descriptor".to_owned()))?;
    Ok((fd, String::from_utf8_lossy(&name[..received.bytes]).into_owned()))
}

/// Sends a descriptor and a name, the other side of [`receive_fd`].
pub fn send_fd(socket: impl AsFd, fd: impl AsFd, name: &str) -> Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Error::Invalid("no room for the descriptor".to_owned()));
    }
    // At least one byte must go with the descriptor.
    let bytes = if name.is_empty() { b"\0" } else { name.as_bytes() };
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        .doing("send descriptor")?;
    Ok(())
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Winsize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// The terminal's size.
pub fn winsize(terminal: impl AsFd) -> Result<Winsize> {
    let size = rustix::termios::tcgetwinsize(terminal).doing("get terminal size")?;
    Ok(Winsize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the terminal's size; the foreground processes get SIGWINCH.
pub fn set_winsize(terminal: impl AsFd, size: Winsize) -> Result<()> {
    let size =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).doing("set terminal size")
}

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Modes of a terminal as they were, to be put back.
#[derive(Clone, Debug)]
pub struct SavedModes(Termios);

/// Puts the terminal into raw mode: bytes pass unchanged, no echo, no signals from keys. Gives the modes it had.
pub fn make_raw(terminal: impl AsFd) -> Result<SavedModes> {
    let saved = rustix::termios::tcgetattr(&terminal).doing("get terminal modes")?;
    let mut raw = saved.clone();
    raw.make_raw();
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw).doing("set terminal modes")?;
    Ok(SavedModes(saved))
}

/// Puts saved modes back.
pub fn restore(terminal: impl AsFd, modes: &SavedModes) -> Result<()> {
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes.0).doing("restore terminal modes")
}

/// Opens a new terminal: master and slave, both close-on-exec and not our controlling terminal.
pub fn open_pty() -> Result<(OwnedFd, OwnedFd)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .doing("open pty master")?;
    rustix::pty::unlockpt(&master).doing("unlock pty")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing("open pty slave")?;
    Ok((master, slave))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_master_crosses_a_socket_and_works() {
        let (master, slave) = open_pty().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        send_fd(&theirs, &master, "/dev/ptmx").unwrap();
        drop(master);
        let (received, name) = receive_fd(&ours).unwrap();
        assert_eq!(name, "/dev/ptmx");
        assert!(rustix::io::fcntl_getfd(&received).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        set_winsize(&received, Winsize { rows: 41, columns: 132 }).unwrap();
        assert_eq!(winsize(&slave).unwrap(), Winsize { rows: 41, columns: 132 });
        assert!(is_terminal(&slave));
        let saved = make_raw(&slave).unwrap();
        File::from(slave.try_clone().unwrap()).write_all(b"a\nb").unwrap();
        let mut buf = [0; 8];
        let mut received = File::from(received);
        let n = received.read(&mut buf).unwrap();
        assert_eq!(&buf[..n], b"a\nb", "raw mode must not turn line feeds into CR LF");
        restore(&slave, &saved).unwrap();
    }

    #[test]
    fn messages_without_or_with_too_many_descriptors() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"nothing").unwrap();
        assert!(matches!(receive_fd(&ours), Err(Error::Invalid(_))));
        ours.set_nonblocking(true).unwrap();
        assert!(receive_fd(&ours).unwrap_err().is_errno(Errno::AGAIN));

        let pipes: Vec<_> = (0..3).map(|_| std::io::pipe().unwrap()).collect();
        let fds: Vec<_> = pipes.iter().map(|(_, w)| w.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(&theirs, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        drop(fds);
        let (_first, _) = receive_fd(&ours).unwrap();
        // All but the first must be closed here: once our own ends are gone the readers see the end.
        for (mut reader, writer) in pipes.into_iter().skip(1) {
            drop(writer);
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
        }
    }
}
