//! A log's folder as the verifier reads it.

use crate::audit::verify::Files;
use std::fs;
use std::path::{Path, PathBuf};

/// A log's folder. Nothing is written to it.
pub(super) struct Folder(pub(super) PathBuf);

impl Files for Folder {
    fn names(&self) -> Result<Vec<String>, String> {
        let mut names = list(&self.0, "")?;
        if self.0.join("epochs").is_dir() {
            names.extend(list(&self.0.join("epochs"), "epochs/")?);
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn list(folder: &Path, before: &str) -> Result<Vec<String>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if entry.file_type().map_err(wrong)?.is_file()
            && let Some(name) = entry.file_name().to_str()
        {
            names.push(format!("{before}{name}"));
        }
    }
    Ok(names)
}
