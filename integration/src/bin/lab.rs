//! `lab`: the registry and the image of the demo, made on this machine.
#![allow(clippy::print_stdout)]
#![forbid(unsafe_code)]

use anyhow::bail;
use integration::Image;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // lab push 127.0.0.1:5000 demo/busybox latest
        ["push", address, name, tag] => {
            println!("{}", integration::registry::push(address, &Image::busybox()?, name, tag)?)
        }
        // lab archive NAME FILE
        ["archive", name, file] => std::fs::write(file, Image::busybox()?.oci_archive(name)?)?,
        ["port"] => println!("{}", integration::registry::free_port()?),
        _ => bail!("usage: lab push ADDRESS NAME TAG | lab archive NAME FILE | lab port"),
    }
    Ok(())
}
