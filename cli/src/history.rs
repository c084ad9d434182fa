//! `weir history`: the revisions that are kept.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weir_process::exit::Exit;

use crate::api::{Access, Api, Revision, block_on};
use crate::failure::{Failure, finish};
use crate::table::aligned;
use crate::terminal;

/// Arguments of `weir history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Lists them, newest first.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(history(arguments), arguments.json)
}

fn history(arguments: &Arguments) -> Result<Exit, Failure> {
    let api = Api::new(&arguments.access)?;
    let revisions = block_on(async { Ok(api.revisions().await?) })?;
    if arguments.json {
        terminal::answer_json(&revisions);
    } else if revisions.revisions.is_empty() {
        terminal::answer("nothing was applied yet\n");
    } else {
        terminal::answer(&shown(&revisions.revisions));
    }
    Ok(Exit::Fine)
}

fn shown(revisions: &[Revision]) -> String {
    let header = ["REVISION", "ACCEPTED", "AUTHOR", "DIGEST", "BYTES", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (index, revision) in revisions.iter().enumerate() {
        let mut notes = Vec::new();
        if index == 0 {
            notes.push("in force".to_owned());
        }
        if let Some(to) = revision.rollback_to {
            notes.push(format!("revision {to} again"));
        }
        rows.push(vec![
            revision.number.to_string(),
            instant(revision.accepted_unix),
            revision.author.clone().unwrap_or_else(|| "-".to_owned()),
            revision.digest.chars().take(DIGEST_CHARS).collect(),
            revision.bytes.to_string(),
            notes.join(", "),
        ]);
    }
    aligned(&rows)
}

fn instant(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok();
    instant
        .and_then(|instant| instant.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix.to_string())
}

/// Enough to tell revisions apart.
const DIGEST_CHARS: usize = 12;

#[cfg(test)]
mod tests {
    use super::{Revision, shown};

    #[test]
    fn the_newest_is_in_force() {
        let revision = |number, rollback_to| Revision {
            number,
            digest: "0123456789abcdef".to_owned(),
            bytes: 10,
            accepted_unix: 1_700_000_000,
            author: (number == 1).then(|| "ann".to_owned()),
            rollback_to,
        };
        let shown = shown(&[revision(3, Some(1)), revision(1, None)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[1],
            "  3         2023-11-14T22:13:20Z  -       0123456789ab  10     \
             in force, revision 1 again"
        );
        assert!(lines[2].contains("ann"));
    }
}
