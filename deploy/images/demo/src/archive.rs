//! `tar`, as far as `kubectl cp` calls it in a container: `tar cf - PATH` and `tar -xmf - [-C FOLDER]`.

use std::{
    io::{self, Write},
    path::Path,
};

/// Runs one of the two.
///
/// # Errors
/// The arguments are others, or a file cannot be read or written.
pub fn main(arguments: &[String]) -> io::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cf", "-", path] => pack(path.as_ref(), io::stdout().lock()),
        ["-xmf", "-"] => unpack(Path::new("."), io::stdin().lock()),
        ["-xmf", "-", "-C", folder] => unpack(folder.as_ref(), io::stdin().lock()),
        _ => Err(io::Error::other("usage: tar cf - PATH | tar -xmf - [-C FOLDER]")),
    }
}

fn pack(path: &Path, output: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(output);
    archive.follow_symlinks(false);
    // Names in archives do not begin with a slash.
    let name = path.strip_prefix("/").unwrap_or(path);
    if path.is_dir() {
        archive.append_dir_all(name, path)?;
    } else {
        archive.append_path_with_name(path, name)?;
    }
    archive.into_inner()?.flush()
}

fn unpack(folder: &Path, input: impl io::Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(input);
    archive.set_preserve_mtime(false);
    archive.unpack(folder)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("from"))?;
        fs::write(folder.path().join("from/a"), "b")?;
        let mut packed = Vec::new();
        pack(&folder.path().join("from"), &mut packed)?;
        unpack(&folder.path().join("to"), packed.as_slice())?;
        let place = folder.path().strip_prefix("/").map_err(io::Error::other)?.join("from/a");
        assert_eq!(fs::read_to_string(folder.path().join("to").join(place))?, "b");
        assert!(main(&["tf".to_owned()]).is_err());
        Ok(())
    }
}
