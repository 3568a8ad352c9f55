//! The project's own images: an OCI layout in one tar file, made from the static programs and
//! imported into each node's containerd. Nothing is pulled and no image tool is needed.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::command;

/// The image of every sandbox.
pub const PAUSE: &str = "reeve.local/pause:1";
/// The demo, first version.
pub const DEMO_1: &str = "reeve.local/demo:1";
/// The demo, second version: the same program, which names another version in its answers.
pub const DEMO_2: &str = "reeve.local/demo:2";

/// Names under which the demo's helpers are found in its image.
const APPLETS: [&str; 14] =
    ["sh", "sleep", "env", "echo", "cat", "write", "ls", "hostname", "id", "true", "false", "crash", "stty", "tar"];

/// An image to be written: one layer and how it runs.
struct Image<'a> {
    name: &'a str,
    layer: &'a [u8],
    entrypoint: Vec<&'a str>,
    arguments: Vec<&'a str>,
    environment: Vec<String>,
}

/// Writes the archive of all images, unless the same one is there already.
///
/// # Errors
/// A program cannot be read, or the archive cannot be written.
pub fn write_archive(pause: &Path, demo: &Path, archive: &Path) -> Result<()> {
    let (stamp, stamp_path) = (stamp(&[pause, demo])?, stamp_path(archive));
    if archive.exists() && fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) {
        return Ok(());
    }
    let pause_layer = layer(&[("pause", pause)], &[])?;
    let links: Vec<(String, &str)> = APPLETS.iter().map(|name| (format!("bin/{name}"), "demo")).collect();
    let demo_layer = layer(&[("bin/demo", demo)], &links)?;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let demo = |name, version: u32| Image {
        name,
        layer: &demo_layer,
        entrypoint: vec!["/bin/demo"],
        arguments: vec!["serve"],
        environment: vec![path.clone(), format!("DEMO_VERSION={version}")],
    };
    let images = [
        Image {
            name: PAUSE,
            layer: &pause_layer,
            entrypoint: vec!["/pause"],
            arguments: Vec::new(),
            environment: vec![path.clone()],
        },
        demo(DEMO_1, 1),
        demo(DEMO_2, 2),
    ];
    crate::instance::write_private(archive, &layout(&images)?)?;
    crate::instance::write_private(&stamp_path, stamp.as_bytes())
}

/// Tells whether the programs are the ones that an archive was made from, without reading them.
fn stamp(programs: &[&Path]) -> Result<String> {
    let mut stamp = String::new();
    for program in programs {
        let metadata = fs::metadata(program).with_context(|| format!("cannot read {}", program.display()))?;
        let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        stamp.push_str(&format!("{} {} {}\n", program.display(), metadata.len(), modified.as_nanos()));
    }
    Ok(stamp)
}

fn stamp_path(archive: &Path) -> PathBuf {
    archive.with_extension("stamp")
}

/// A layer with executables and links; times and owners are fixed, so that equal contents give
/// equal bytes.
fn layer(programs: &[(&str, &Path)], links: &[(String, &str)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let folder = |builder: &mut tar::Builder<Vec<u8>>, name: &str, mode| -> Result<()> {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        Ok(builder.append_data(&mut header, name, std::io::empty())?)
    };
    for (name, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        folder(&mut builder, name, mode)?;
    }
    let passwd = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    let mut passwd_header = header(tar::EntryType::Regular, 0o644, passwd.len() as u64);
    builder.append_data(&mut passwd_header, "etc/passwd", passwd.as_slice())?;
    for (name, path) in programs {
        let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut header = header(tar::EntryType::Regular, 0o755, contents.len() as u64);
        builder.append_data(&mut header, name, contents.as_slice())?;
    }
    for (name, target) in links {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        builder.append_link(&mut header, name, target)?;
    }
    Ok(builder.into_inner()?)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The tar file of an OCI layout with all images; equal layers are stored once.
fn layout(images: &[Image<'_>]) -> Result<Vec<u8>> {
    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let layer = blob(&mut blobs, "application/vnd.oci.image.layer.v1.tar", image.layer.to_vec());
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": image.entrypoint, "Cmd": image.arguments,
                "Env": image.environment, "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = blob(&mut blobs, "application/vnd.oci.image.config.v1+json", serde_json::to_vec(&config)?);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
        let mut manifest = blob(&mut blobs, media_type, serde_json::to_vec(&manifest)?);
        manifest["annotations"] =
            json!({"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name});
        manifests.push(manifest);
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut file = |name: &str, contents: &[u8]| -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, contents.len() as u64);
        Ok(builder.append_data(&mut header, name, contents)?)
    };
    file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    file("index.json", &serde_json::to_vec(&index)?)?;
    for (digest, contents) in &blobs {
        file(&format!("blobs/sha256/{digest}"), contents)?;
    }
    Ok(builder.into_inner()?)
}

/// Stores a blob and returns its descriptor.
fn blob(blobs: &mut BTreeMap<String, Vec<u8>>, media_type: &str, contents: Vec<u8>) -> Value {
    let digest = hex(&contents);
    let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": contents.len()});
    blobs.insert(digest, contents);
    descriptor
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Imports the archive into a node's containerd, unless this very archive was imported before.
/// `ctr` is the command that reaches it.
///
/// # Errors
/// containerd refuses the archive.
pub fn import(ctr: &[String], node_dir: &Path, archive: &Path, snapshotter: &str) -> Result<()> {
    let stamp_path = stamp_path(archive);
    let stamp = fs::read_to_string(&stamp_path).with_context(|| format!("cannot read {}", stamp_path.display()))?;
    let marker: PathBuf = node_dir.join("imported-images");
    if fs::read_to_string(&marker).is_ok_and(|imported| imported == stamp) {
        return Ok(());
    }
    let Some((program, words)) = ctr.split_first() else { return Ok(()) };
    let mut import = command::system(program);
    import.args(words).args(["--namespace", "k8s.io", "images", "import", "--snapshotter", snapshotter]);
    command::run(import.arg(archive))?;
    let mut file = fs::File::create(&marker)?;
    file.write_all(stamp.as_bytes()).with_context(|| format!("cannot write {}", marker.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_is_the_same_each_time_and_its_digests_hold() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("program");
        fs::write(&program, "static bytes")?;
        let archive = folder.path().join("images.tar");
        write_archive(&program, &program, &archive)?;
        let first = fs::read(&archive)?;
        write_archive(&program, &program, &archive)?;
        assert_eq!(fs::read(&archive)?, first);

        let mut names = Vec::new();
        for entry in tar::Archive::new(first.as_slice()).entries()? {
            let mut entry = entry?;
            let name = entry.path()?.display().to_string();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hex(&contents), digest);
            }
            names.push(name);
        }
        // Two layers (the demo's is shared), three configurations, three manifests.
        assert_eq!(names.iter().filter(|name| name.starts_with("blobs/")).count(), 8);
        Ok(())
    }
}
