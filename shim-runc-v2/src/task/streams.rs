//! ResizePty and CloseIO.

use base::Error;

use crate::task::Tasks;
use crate::task::decide::Phase;

impl Tasks {
    /// Sets the size of a process's terminal; without one nothing happens.
    ///
    /// # Errors
    /// `NotFound`, an exec that ended, a kernel that refuses.
    pub(crate) fn resize(&self, id: &str, exec_id: &str, width: u32, height: u32) -> Result<(), Error> {
        let container = self.get(id)?;
        let mut state = container.state();
        let proc = state.proc(exec_id)?;
        if !exec_id.is_empty() && matches!(proc.phase, Phase::Stopped | Phase::Failed) {
            return Err(Error::unknown("cannot resize a stopped container"));
        }
        let Some(streams) = &proc.streams else { return Ok(()) };
        let fits = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        streams.resize(fits(width), fits(height))
    }

    /// Lets a process's input end with its client's.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn close_io(&self, id: &str, exec_id: &str) -> Result<(), Error> {
        let container = self.get(id)?;
        let mut state = container.state();
        if let Some(streams) = &mut state.proc(exec_id)?.streams {
            streams.close_stdin();
        }
        Ok(())
    }
}
