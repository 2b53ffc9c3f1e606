//! Realistic files of other servers beside what comes out of them: `tests/import/*/NAME` with `NAME.toml` (the settings, notes at
//! their end). `TIDEGATE_BLESS=1` writes the latter anew; read the difference.

use std::path::{Path, PathBuf};

use super::{Dialect, Files, Imported, import};
use crate::config::check::{Surroundings, check};

fn files(dialect: Dialect) -> Vec<PathBuf> {
    let (folder, ending) = match dialect {
        Dialect::Nginx => ("nginx", "conf"),
        Dialect::Caddy => ("caddy", "Caddyfile"),
    };
    let directory = Path::new("tests/import").join(folder);
    let entries = std::fs::read_dir(&directory).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    files
}

fn imported(dialect: Dialect, path: &Path) -> Imported {
    import(dialect, path, Files::here()).unwrap_or_else(|error| panic!("{error}"))
}

fn around() -> Surroundings {
    Surroundings {
        host_name: "edge\n".to_owned(),
        cores: 2,
        base: "/etc/tidegate".into(),
        unreadable: |_| None,
        page: |_| Ok(Vec::new()),
        unfit: |_, _| None,
        no_list: |_, _| None,
        no_database: |_| None,
        no_modsecurity: |_| None,
    }
}

#[test]
fn what_comes_out_is_as_it_was_and_passes_the_check() {
    let bless = std::env::var_os("TIDEGATE_BLESS").is_some();
    let mut wrong = Vec::new();
    for dialect in [Dialect::Nginx, Dialect::Caddy] {
        for path in files(dialect) {
            let imported = imported(dialect, &path);
            let expected = PathBuf::from(format!("{}.toml", path.display()));
            if bless {
                std::fs::write(&expected, &imported.settings).expect("it can be written");
            } else if std::fs::read_to_string(&expected).unwrap_or_default() != imported.settings {
                wrong.push(format!("{}:\n{}", path.display(), imported.settings));
            }
            if let Err(mistakes) = check("imported", &imported.settings, &around()) {
                wrong.push(format!("{}:\n{}", path.display(), mistakes.render(false)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nTIDEGATE_BLESS=1 writes them anew", wrong.join("\n"));
}

#[test]
fn every_note_names_a_line_of_a_file() {
    for dialect in [Dialect::Nginx, Dialect::Caddy] {
        for path in files(dialect) {
            for note in imported(dialect, &path).notes {
                let text = std::fs::read_to_string(&*note.place.file).expect("the file is there");
                let lines = u32::try_from(text.lines().count()).expect("few");
                assert!((1..=lines).contains(&note.place.line), "{note}");
                assert!(!note.what.is_empty());
            }
        }
    }
}

#[test]
fn what_is_no_settings_file_is_told_with_its_line() {
    let refused = |dialect, text: &'static str| {
        let files = Files { read: |path, _| Ok(path.display().to_string()), list: |_| Ok(Vec::new()) };
        // The path is the text: a reader without a disk.
        import(dialect, Path::new(text), files).map(|imported| imported.settings).expect_err(text)
    };
    for (claim, dialect, text, line, said) in [
        ("a quote that is open", Dialect::Nginx, "a;\nb \"c;", 2, "never closed"),
        ("a block that is open", Dialect::Nginx, "http {\n server {\n", 2, "never closed"),
        ("a brace too many", Dialect::Nginx, "a;\n}\n", 2, "closes nothing"),
        ("no end of a directive", Dialect::Nginx, "http { listen 80 }", 1, "`;` is missing"),
        ("a directive at the end", Dialect::Nginx, "listen 80", 1, "`;` is missing"),
        ("a Caddyfile's quote", Dialect::Caddy, "a {\n header x \"y\n}", 2, "never closed"),
        ("a Caddyfile's block", Dialect::Caddy, "a {\n handle {\n }\n", 1, "never closed"),
        ("a Caddyfile's brace", Dialect::Caddy, "a {\n}\n}\n", 3, "closes nothing"),
        ("a heredoc", Dialect::Caddy, "a {\n respond <<END\n x\n}", 2, "never closed"),
    ] {
        let error = refused(dialect, text);
        assert_eq!(error.place.line, line, "{claim}: {error}");
        assert!(error.what.contains(said), "{claim}: {error}");
    }
}

#[test]
fn blocks_and_imports_have_an_end() {
    let deep = "a {".repeat(1_000);
    let path = deep.clone();
    let files = Files { read: |path, _| Ok(path.display().to_string()), list: |_| Ok(Vec::new()) };
    for dialect in [Dialect::Nginx, Dialect::Caddy] {
        assert!(import(dialect, Path::new(&path), files).is_err());
    }
    // A file that includes itself.
    let itself =
        Files { read: |_, _| Ok("include x.conf;\nimport x.conf\n".to_owned()), list: |_| Ok(Vec::new()) };
    let error = import(Dialect::Nginx, Path::new("x.conf"), itself).expect_err("it has no end");
    assert!(
        error.what.contains("within one another") || error.what.contains("files are included"),
        "{error}"
    );
    let itself = Files { read: |_, _| Ok("a {\nimport x.conf\n}\n".to_owned()), list: |_| Ok(Vec::new()) };
    assert!(import(Dialect::Caddy, Path::new("x.conf"), itself).is_err());
}
