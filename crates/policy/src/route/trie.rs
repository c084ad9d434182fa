//! The paths of one host: a trie of segments with literal and parameter edges, and a list of
//! regular expressions.

use foldhash::fast::FixedState;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::ops::ControlFlow;
use weir_config::pattern::{PathPattern, Segment};

use super::Matcher;
use crate::snapshot::RouteId;

/// Paths of one host, in order of precedence.
#[derive(Debug)]
pub(super) struct PathTable {
    nodes: Vec<Node>,
    /// Routes by regular expression, in order.
    regexes: Vec<RouteId>,
}

#[derive(Debug, Default)]
struct Node {
    // Keys come from the document, so the hash needs no secret.
    literals: HashMap<Box<str>, u32, FixedState>,
    parameter: Option<u32>,
    /// Routes whose pattern ends here, in order.
    ends: SmallVec<[RouteId; 1]>,
    /// Routes that take everything from here, in order.
    below: SmallVec<[RouteId; 1]>,
}

impl PathTable {
    /// An empty table.
    pub(super) fn new() -> PathTable {
        PathTable {
            nodes: vec![Node::default()],
            regexes: Vec::new(),
        }
    }

    /// Adds a route. Routes must be added in order of their rank and place, since nodes keep the
    /// order of insertion.
    pub(super) fn insert(&mut self, id: RouteId, matcher: &Matcher) {
        match &matcher.path.pattern {
            PathPattern::Exact(text) => {
                let node = self.descend(text.get(1..).unwrap_or_default().split('/').map(Some));
                self.nodes[node].ends.push(id);
            }
            PathPattern::Prefix(text) => {
                let segments = text.split('/').skip(1).map(Some);
                let node = self.descend(segments);
                self.nodes[node].below.push(id);
            }
            PathPattern::Regex(_) => self.regexes.push(id),
            PathPattern::Template { segments, below } => {
                let node = self.descend(segments.iter().map(|segment| match segment {
                    Segment::Literal(text) => Some(text.as_str()),
                    Segment::Parameter(_) => None,
                }));
                let node = &mut self.nodes[node];
                if *below {
                    node.below.push(id)
                } else {
                    node.ends.push(id)
                }
            }
        }
    }

    /// The node these segments lead to, made when missing; `None` stands for a parameter.
    fn descend<'s>(&mut self, segments: impl Iterator<Item = Option<&'s str>>) -> usize {
        let mut at = 0;
        for segment in segments {
            // The document bounds routes and their length far below 2^32 nodes.
            let fresh = self.nodes.len() as u32;
            let next = match segment {
                Some(text) => match self.nodes[at].literals.get(text) {
                    Some(&known) => known,
                    None => {
                        self.nodes[at].literals.insert(text.into(), fresh);
                        fresh
                    }
                },
                None => *self.nodes[at].parameter.get_or_insert(fresh),
            };
            if next == fresh {
                self.nodes.push(Node::default());
            }
            at = next as usize;
        }
        at
    }

    /// Visits the routes whose path matches, in order of precedence, until `visit` breaks.
    ///
    /// One walk over the trie visits every node at most once; prefixes found on the way are kept
    /// aside, because any whole match goes before them.
    pub(super) fn visit<B>(
        &self,
        path: &str,
        mut visit: impl FnMut(RouteId) -> ControlFlow<B>,
        mut is_match: impl FnMut(RouteId) -> bool,
    ) -> ControlFlow<B> {
        let mut prefixes: SmallVec<[(u32, u32); 16]> = SmallVec::new();
        let mut pending: SmallVec<[(u32, Option<&str>, u32); 8]> = SmallVec::new();
        pending.push((0, path.get(1..), 0));
        while let Some((at, rest, depth)) = pending.pop() {
            let node = &self.nodes[at as usize];
            if !node.below.is_empty() {
                prefixes.push((depth, at));
            }
            let Some(rest) = rest else {
                for &id in &node.ends {
                    visit(id)?;
                }
                continue;
            };
            let (segment, rest) = match rest.split_once('/') {
                Some((segment, rest)) => (segment, Some(rest)),
                None => (rest, None),
            };
            // Last in, first out: the literal edge is walked to its end before the parameter.
            if let Some(parameter) = node.parameter.filter(|_| !segment.is_empty()) {
                pending.push((parameter, rest, depth + 1));
            }
            if let Some(&literal) = node.literals.get(segment) {
                pending.push((literal, rest, depth + 1));
            }
        }
        // Deepest first; among equals the order of the walk. Without parameters the walk is one
        // line downwards and this only reverses it.
        if prefixes.is_sorted_by(|one, two| one.0 < two.0) {
            prefixes.reverse();
        } else {
            prefixes.sort_by_key(|&(depth, _)| std::cmp::Reverse(depth));
        }
        for (_, at) in prefixes {
            for &id in &self.nodes[at as usize].below {
                visit(id)?;
            }
        }
        for &id in &self.regexes {
            if is_match(id) {
                visit(id)?;
            }
        }
        ControlFlow::Continue(())
    }
}
