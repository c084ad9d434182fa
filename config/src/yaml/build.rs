//! From parser events to the tree, within the bounds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::scalar::{Plain, resolve};
use super::{Node, Value, excerpt};
use crate::bounds::{ALIAS_BYTES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, NODES_MAX};
use crate::decode::{Complaint, Decoder, Path};
use crate::give_way::give_way;
use crate::position::{Located, Position};

/// Reads one document. `None` when there is nothing to decode: the reason is then in `decoder`. A
/// duplicate key is reported too, but leaves a tree (with the first value), so that the rest of the
/// document is still checked.
pub(crate) fn parse(text: &str, decoder: &mut Decoder) -> Option<Node> {
    parse_within(text, DEPTH_MAX, decoder)
}

/// The same with another bound on nesting.
pub(crate) fn parse_within(text: &str, depth_max: usize, decoder: &mut Decoder) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > DOCUMENT_BYTES_MAX {
        let problem = format!(
            "the document has {} bytes; at most {DOCUMENT_BYTES_MAX} are allowed",
            text.len()
        );
        decoder.report(start, Complaint::new(problem));
        return None;
    }
    let mut builder = Builder {
        depth_max,
        ..Builder::default()
    };
    if let Err((at, complaint)) = builder.run(text) {
        decoder.report(at, complaint);
        return None;
    }
    for (path, at, complaint) in builder.duplicates {
        decoder.report_at_path(path, at, complaint);
    }
    let empty = builder.root.as_ref().is_none_or(Node::is_null);
    if empty {
        let complaint = Complaint::new("the document is empty")
            .hint("write `{}` for a document that configures nothing");
        decoder.report(start, complaint);
        return None;
    }
    builder.root
}

type Failure = (Position, Complaint);

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    /// Lists and maps that are not finished, outermost first.
    open: Vec<Open>,
    /// Finished values by the parser's anchor number.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    depth_max: usize,
    alias_bytes: usize,
    duplicates: Vec<(Path, Position, Complaint)>,
}

struct Open {
    at: Position,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<(Located<String>, Node)>,
        key: Option<Located<String>>,
    },
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<(), Failure> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| unreadable(&error))?;
            let at = position(span.start);
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let complaint = Complaint::new("a second YAML document starts here")
                            .hint("one text holds one document: remove the `---`");
                        return Err((at, complaint));
                    }
                }
                Event::Alias(anchor) => self.alias(anchor, at)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = scalar_type(&text, style, tag.as_deref(), at)?;
                    let value = Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    };
                    self.add(Node { at, value }, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    collection_tag(tag.as_deref(), "seq", at)?;
                    self.enter(at, anchor, OpenKind::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    collection_tag(tag.as_deref(), "map", at)?;
                    self.enter(
                        at,
                        anchor,
                        OpenKind::Map {
                            entries: Vec::new(),
                            key: None,
                        },
                    )?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.leave()?,
            }
        }
        Ok(())
    }

    fn enter(&mut self, at: Position, anchor: usize, kind: OpenKind) -> Result<(), Failure> {
        if let Some(Open {
            kind: OpenKind::Map { key: None, .. },
            ..
        }) = self.open.last()
        {
            return Err((
                at,
                Complaint::new("a key must be a text, not a list or a map"),
            ));
        }
        if self.open.len() >= self.depth_max {
            let problem = format!("nested deeper than {} lists and maps", self.depth_max);
            return Err((at, Complaint::new(problem)));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Failure> {
        give_way();
        let Some(Open { at, anchor, kind }) = self.open.pop() else {
            return Ok(());
        };
        let node = match kind {
            OpenKind::List(items) => Node {
                at,
                value: Value::List(items),
            },
            OpenKind::Map { entries, .. } => {
                let entries = self.without_duplicates(entries);
                Node {
                    at,
                    value: Value::Map(entries),
                }
            }
        };
        self.add(node, anchor)
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Failure> {
        let at = node.at;
        self.count(1, at)?;
        if anchor > 0 {
            let (nodes, bytes) = weigh(&node);
            self.count(nodes, at)?;
            self.count_bytes(bytes, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(as_key(node)?),
            },
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Failure> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err((
                at,
                Complaint::new("this alias stands inside the value it repeats"),
            ));
        };
        let (nodes, bytes) = weigh(node);
        let node = node.clone();
        if self.open.len() + depth(&node) > self.depth_max {
            let problem = format!("nested deeper than {} lists and maps", self.depth_max);
            return Err((at, Complaint::new(problem)));
        }
        self.count(nodes, at)?;
        self.count_bytes(bytes, at)?;
        self.add(node, 0)
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Failure> {
        self.nodes += nodes;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        let problem =
            format!("more than {NODES_MAX} keys and values, those that aliases repeat included");
        Err((at, Complaint::new(problem)))
    }

    fn count_bytes(&mut self, bytes: usize, at: Position) -> Result<(), Failure> {
        self.alias_bytes += bytes;
        if self.alias_bytes <= ALIAS_BYTES_MAX {
            return Ok(());
        }
        let problem = format!("aliases repeat more than {ALIAS_BYTES_MAX} bytes of text");
        Err((at, Complaint::new(problem)))
    }

    fn without_duplicates(
        &mut self,
        mut entries: Vec<(Located<String>, Node)>,
    ) -> Vec<(Located<String>, Node)> {
        let mut seen = HashMap::with_capacity(entries.len());
        let mut twice = HashSet::new();
        for (index, (key, _)) in entries.iter().enumerate() {
            let first: Position = *seen.entry(key.value.as_str()).or_insert(key.at);
            if first != key.at {
                twice.insert(index);
                let problem = format!(
                    "the key `{}` is already there, in line {}",
                    excerpt(key),
                    first.line
                );
                let complaint = Complaint::new(problem).hint("keep one of the two");
                self.duplicates.push((self.path(key), key.at, complaint));
            }
        }
        let mut index = 0;
        entries.retain(|_| {
            index += 1;
            !twice.contains(&(index - 1))
        });
        entries
    }

    /// The path of a key of the map that was just closed.
    fn path(&self, key: &str) -> Path {
        let mut path = Path::default();
        for open in &self.open {
            match &open.kind {
                OpenKind::List(items) => path.push_index(items.len()),
                OpenKind::Map { key: Some(key), .. } => path.push_key(key),
                OpenKind::Map { key: None, .. } => {}
            }
        }
        path.push_key(key);
        path
    }
}

fn as_key(node: Node) -> Result<Located<String>, Failure> {
    match node.value {
        Value::Scalar {
            plain: Plain::Null, ..
        } => Err((node.at, Complaint::new("a key must be a text, not nothing"))),
        Value::Scalar { text, .. } => Ok(Located {
            value: text,
            at: node.at,
        }),
        // Only an alias brings a whole list or map here.
        Value::List(_) | Value::Map(_) => Err((
            node.at,
            Complaint::new("a key must be a text, not a list or a map"),
        )),
    }
}

/// How many values a tree has, and how many bytes of text.
fn weigh(node: &Node) -> (usize, usize) {
    let sum = |total: (usize, usize), node: &Node, key: usize| {
        let (nodes, bytes) = weigh(node);
        (total.0 + nodes, total.1 + bytes + key)
    };
    match &node.value {
        Value::List(items) => items.iter().fold((1, 0), |total, item| sum(total, item, 0)),
        Value::Map(entries) => entries
            .iter()
            .fold((1, 0), |total, (key, node)| sum(total, node, key.len())),
        Value::Scalar { text, .. } => (1, text.len()),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => {
            1 + entries
                .iter()
                .map(|(_, node)| depth(node))
                .max()
                .unwrap_or(0)
        }
        Value::Scalar { .. } => 0,
    }
}

fn scalar_type(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Position,
) -> Result<Plain, Failure> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(resolve(text)),
        None => Ok(Plain::Text),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Plain::Text),
        Some(tag) => Err(unknown_tag(tag, at)),
    }
}

fn collection_tag(tag: Option<&Tag>, expected: &str, at: Position) -> Result<(), Failure> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(tag) => Err(unknown_tag(tag, at)),
    }
}

fn unknown_tag(tag: &Tag, at: Position) -> Failure {
    let problem = format!(
        "the tag `{}` has no meaning here",
        excerpt(&tag.to_string())
    );
    (
        at,
        Complaint::new(problem).hint("remove it; quote a text that starts with `!`"),
    )
}

fn unreadable(error: &ScanError) -> Failure {
    let complaint = Complaint::new(format!("not readable as YAML: {}", error.info()));
    let complaint = match hint_for(error.info()) {
        Some(hint) => complaint.hint(hint),
        None => complaint,
    };
    (position(*error.marker()), complaint)
}

/// What people most often meant when the parser stumbles.
fn hint_for(info: &str) -> Option<&'static str> {
    if info.contains("tab") {
        Some("indent with spaces")
    } else if info.contains("anchor or alias") || info.contains("unknown anchor") {
        Some("quote a value that starts with `*` or `&`: \"*.example.com\"")
    } else if info.contains("unexpected character") {
        Some("quote a value that starts with `@`, `%` or a backtick")
    } else if info.contains("node content") || info.contains("end of stream") {
        Some("a bracket, a brace or a quote may not be closed")
    } else if info.contains("mapping values") || info.contains("expected key") {
        Some("check the indentation; quote a value that holds `: `")
    } else if info.contains("tag") {
        Some("quote a value that starts with `!`")
    } else {
        None
    }
}

fn position(marker: Marker) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: narrow(marker.line()),
        column: narrow(marker.col() + 1),
    }
}
