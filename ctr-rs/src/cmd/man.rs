//! `man`: the manual page of the whole tree, as roff.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::io::output;

/// Prints the page: the program itself, then each command under its full name.
pub fn run() -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(Error::io("cannot write the manual page"))?;
    section(&command, "ctr-rs", &mut page).map_err(Error::io("cannot write the manual page"))?;
    output::bytes(&page)
}

fn section(command: &clap::Command, path: &str, page: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name());
        writeln!(page, ".SH \"{}\"", path.to_uppercase())?;
        let man = Man::new(sub.clone());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        section(sub, &path, page)?;
    }
    Ok(())
}
