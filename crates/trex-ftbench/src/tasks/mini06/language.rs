//! The expression language of task 6: tree, parser, printer and interpreter.
//!
//! It accepts the canonical spelling only (no white space, no sign, no leading zero) and never panics on input.

use std::fmt;

/// Deeper trees are refused, so that a hostile answer cannot exhaust the stack.
const MAX_DEPTH: usize = 32;

/// An operation with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Left plus right.
    Add,
    /// Left minus right.
    Sub,
    /// Left times right.
    Mul,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Op {
    /// All operations.
    pub(crate) const ALL: [Self; 5] = [Self::Add, Self::Sub, Self::Mul, Self::Max, Self::Min];

    /// Its name in the language.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    fn apply(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Self::Add => left.checked_add(right),
            Self::Sub => left.checked_sub(right),
            Self::Mul => left.checked_mul(right),
            Self::Max => Some(left.max(right)),
            Self::Min => Some(left.min(right)),
        }
    }
}

/// An expression tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    /// A whole number, never negative in the language.
    Number(i64),
    /// The operand with the other sign.
    Neg(Box<Self>),
    /// Two operands.
    Binary(Op, Box<Self>, Box<Self>),
}

impl Expr {
    /// `op(left,right)`.
    pub(crate) fn binary(op: Op, left: Self, right: Self) -> Self {
        Self::Binary(op, Box::new(left), Box::new(right))
    }

    /// `neg(of)`.
    pub(crate) fn neg(of: Self) -> Self {
        Self::Neg(Box::new(of))
    }

    /// Reads the canonical spelling; nothing when the text is anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (expr, rest) = parse_prefix(text, MAX_DEPTH)?;
        rest.is_empty().then_some(expr)
    }

    /// Runs the expression; nothing on overflow.
    pub(crate) fn value(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Neg(of) => of.value()?.checked_neg(),
            Self::Binary(op, left, right) => op.apply(left.value()?, right.value()?),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Neg(of) => write!(f, "neg({of})"),
            Self::Binary(op, left, right) => write!(f, "{}({left},{right})", op.name()),
        }
    }
}

fn parse_prefix(text: &str, depth: usize) -> Option<(Expr, &str)> {
    let depth = depth.checked_sub(1)?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return parse_number(text);
    }
    let (name, rest) = text.split_once('(')?;
    let (first, rest) = parse_prefix(rest, depth)?;
    if name == "neg" {
        return Some((Expr::neg(first), rest.strip_prefix(')')?));
    }
    let op = Op::ALL.into_iter().find(|op| op.name() == name)?;
    let (second, rest) = parse_prefix(rest.strip_prefix(',')?, depth)?;
    Some((Expr::binary(op, first, second), rest.strip_prefix(')')?))
}

fn parse_number(text: &str) -> Option<(Expr, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((Expr::Number(digits.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(Expr::parse(text).and_then(|expr| expr.value()), expected, "{text}");
    }

    #[test]
    fn runs_what_is_well_formed_only() {
        check("7", Some(7));
        check("add(2,mul(3,4))", Some(14));
        check("sub(1,12)", Some(-11));
        check("neg(max(3,neg(4)))", Some(-3));
        check("min(0,neg(5))", Some(-5));
        check("", None);
        check("add(2, 3)", None);
        check("add(2)", None);
        check("neg(1,2)", None);
        check("pow(1,2)", None);
        check("add(02,3)", None);
        check("add(2,3))", None);
        check("mul(9223372036854775807,2)", None);
        check("99999999999999999999", None);
        check(&"neg(".repeat(100_000), None);
    }

    fn any_expr() -> impl Strategy<Value = Expr> {
        let leaf = (0_i64..100).prop_map(Expr::Number);
        leaf.prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(Expr::neg),
                (proptest::sample::select(Op::ALL.to_vec()), inner.clone(), inner)
                    .prop_map(|(op, left, right)| Expr::binary(op, left, right)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(expr in any_expr()) {
            prop_assert_eq!(Expr::parse(&expr.to_string()), Some(expr));
        }

        #[test]
        fn parsing_never_panics(text in "[a-z0-9(),]{0,40}") {
            if let Some(expr) = Expr::parse(&text) {
                prop_assert_eq!(expr.to_string(), text);
            }
        }
    }
}
