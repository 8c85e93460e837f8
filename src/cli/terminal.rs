//! Questions at the terminal, for passwords without an echo.

use std::io::{Read, Write};
use std::sync::Arc;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::api::Reason;
use crate::cli::output::complaint::Complaint;

/// The terminal of the process, also if its standard streams are redirected.
const TERMINAL: &str = "/dev/tty";
/// Longest answer, in bytes; terminals limit a line to less.
const MAX_ANSWER: usize = 64 * 1024;

/// The terminal of the process.
#[derive(Debug)]
pub(crate) struct Terminal(Arc<fs_err::File>);

/// A terminal without an echo, until it is dropped: also if the command is interrupted meanwhile.
struct Silence(Arc<fs_err::File>, Termios);

impl Terminal {
    /// Opens the terminal. `remedy` tells how to answer without one.
    pub(crate) fn open(remedy: &str) -> Result<Self, Complaint> {
        let opened = fs_err::OpenOptions::new().read(true).write(true).open(TERMINAL);
        let complaint = |error| Complaint::new(Reason::InvalidSpec, format!("no terminal for a prompt: {error}"));
        opened.map(|file| Self(Arc::new(file))).map_err(|error| complaint(error).with_remedy(remedy.to_owned()))
    }

    /// Asks for a line.
    pub(crate) async fn ask(&self, question: &str) -> Result<String, Complaint> {
        self.write(question)?;
        self.line().await
    }

    /// Asks for a line that is not shown.
    pub(crate) async fn ask_secretly(&self, question: &str) -> Result<String, Complaint> {
        let normal = tcgetattr(self.0.as_ref()).map_err(|error| failed(&error.into()))?;
        let mut silent = normal.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, so that the next output starts a line.
        silent.local_modes.insert(LocalModes::ECHONL);
        let _silence = Silence(Arc::clone(&self.0), normal);
        tcsetattr(self.0.as_ref(), OptionalActions::Flush, &silent).map_err(|error| failed(&error.into()))?;
        self.write(question)?;
        self.line().await
    }

    fn write(&self, text: &str) -> Result<(), Complaint> {
        self.0.as_ref().write_all(text.as_bytes()).map_err(|error| failed(&error))
    }

    /// Reads a line in a thread, so that a signal is noticed meanwhile. If the command ends before the line does, the
    /// thread ends with the process.
    async fn line(&self) -> Result<String, Complaint> {
        let file = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || read_line(file.as_ref())).await;
        read.map_err(|error| failed(&std::io::Error::other(error)))?.map_err(|error| failed(&error))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.0.as_ref(), OptionalActions::Now, &self.1);
    }
}

/// Reads up to the end of a line, byte by byte: what follows answers the next question.
fn read_line(mut reader: impl Read) -> std::io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MAX_ANSWER {
        if reader.read(&mut byte)? == 0 {
            // Ctrl-D is no answer, not an empty one.
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the input ended without an answer"));
        }
        if byte == *b"\n" {
            break;
        }
        line.extend(byte);
    }
    String::from_utf8(line).map_err(|_| std::io::Error::other("the answer is not UTF-8 text"))
}

fn failed(error: &std::io::Error) -> Complaint {
    Complaint::new(Reason::FileInvalid, format!("{TERMINAL}: {error}"))
        .with_remedy("Enter a value at the prompt.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line_of_limited_length() {
        let mut typed = "one\ntwo\n".as_bytes();
        assert_eq!((read_line(&mut typed).unwrap(), read_line(&mut typed).unwrap()), ("one".into(), "two".into()));
        assert!(read_line(&mut typed).is_err());
        assert_eq!(read_line(b"\n".as_slice()).unwrap(), "");
        assert_eq!(read_line(std::io::repeat(b'x')).unwrap().len(), MAX_ANSWER);
        assert!(read_line(b"\xff\n".as_slice()).is_err());
    }
}
