//! Task 6, code generation: from words to an expression of a tiny language, checked by parsing and running it.
//!
//! The language is `EXPR = NUMBER | OP(EXPR,EXPR) | neg(EXPR)` with OP one of add, sub, mul, max and min, no white
//! space. Words are read in prefix order with a fixed number of operands, so every prompt has exactly one tree and
//! every tree one spelling. The language has no variables, no division and no other numbers than small whole ones.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{below, pick, plain};

pub(crate) use self::language::{Expr, Op};

mod language;
#[cfg(test)]
pub(crate) mod testing;

/// The task.
pub(crate) struct Mini06;

const LEADS: [&str; 3] = ["write the expression: ", "write this as code: ", "give the expression for: "];

/// Spelling of the numbers that occur, at their own index.
pub(crate) const NUMBERS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

impl Generator for Mini06 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 6,
            title: "code generation",
            goal: "Turn a sum that is described in words into one expression of a small language.",
            kind: TaskKind::Generate,
            metric: Metric::ExactMatch,
            options: &[],
            max_new_tokens: 40,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let expr = draw(rng);
        let answer = expr.to_string();
        let prompt = format!("{}{}", pick(rng, &LEADS), command(&expr));
        RawItem { prompt, group: answer.clone(), answer, options: Vec::new() }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        let (Some(wanted), Some(given)) = (expr_from_prompt(prompt), Expr::parse(&plain(answer))) else {
            return false;
        };
        wanted.value().is_some() && wanted.value() == given.value() && wanted == given
    }
}

/// A quarter of depth 1, half with one inner operation, the rest with two of them side by side or in a chain.
fn draw(rng: &mut ChaCha8Rng) -> Expr {
    match below(rng, 20) {
        0..5 => binary_or_neg(rng, number, number),
        5..10 => binary_or_neg(rng, inner, number),
        10..15 => Expr::binary(binary_op(rng), number(rng), inner(rng)),
        15..18 => Expr::binary(binary_op(rng), inner(rng), inner(rng)),
        _ => binary_or_neg(rng, |rng| binary_or_neg(rng, inner, number), number),
    }
}

fn number(rng: &mut ChaCha8Rng) -> Expr {
    Expr::Number(i64::try_from(below(rng, NUMBERS.len())).unwrap_or_default())
}

fn inner(rng: &mut ChaCha8Rng) -> Expr {
    binary_or_neg(rng, number, number)
}

/// An operation on what the two functions draw; one in eight is a negation of the first.
fn binary_or_neg(
    rng: &mut ChaCha8Rng,
    first: impl Fn(&mut ChaCha8Rng) -> Expr,
    second: impl Fn(&mut ChaCha8Rng) -> Expr,
) -> Expr {
    if below(rng, 8) == 0 {
        return Expr::neg(first(rng));
    }
    Expr::binary(binary_op(rng), first(rng), second(rng))
}

fn binary_op(rng: &mut ChaCha8Rng) -> Op {
    *pick(rng, &Op::ALL)
}

/// The outermost operation is said as a command, the inner ones as nouns.
fn command(expr: &Expr) -> String {
    match expr {
        Expr::Number(_) => noun(expr),
        Expr::Neg(of) => format!("negate {}", noun(of)),
        Expr::Binary(Op::Sub, left, right) => format!("subtract {} from {}", noun(right), noun(left)),
        Expr::Binary(Op::Mul, left, right) => format!("multiply {} by {}", noun(left), noun(right)),
        Expr::Binary(op, left, right) => format!("{} {} and {}", command_verb(*op), noun(left), noun(right)),
    }
}

fn command_verb(op: Op) -> &'static str {
    match op {
        Op::Max => "take the larger of",
        Op::Min => "take the smaller of",
        Op::Add | Op::Sub | Op::Mul => "add",
    }
}

fn noun(expr: &Expr) -> String {
    match expr {
        Expr::Number(number) => {
            usize::try_from(*number).ok().and_then(|at| NUMBERS.get(at)).map_or(number.to_string(), |&word| word.into())
        }
        Expr::Neg(of) => format!("the negative of {}", noun(of)),
        Expr::Binary(op, left, right) => format!("the {} of {} and {}", op_noun(*op), noun(left), noun(right)),
    }
}

fn op_noun(op: Op) -> &'static str {
    match op {
        Op::Add => "sum",
        Op::Sub => "difference",
        Op::Mul => "product",
        Op::Max => "larger",
        Op::Min => "smaller",
    }
}

/// Reads the tree back from the words after the lead.
fn expr_from_prompt(prompt: &str) -> Option<Expr> {
    let (_, words) = prompt.split_once(": ")?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let (expr, rest) = read_command(&words)?;
    rest.is_empty().then_some(expr)
}

fn read_command<'w>(words: &'w [&'w str]) -> Option<(Expr, &'w [&'w str])> {
    match words {
        ["negate", rest @ ..] => {
            let (of, rest) = read_noun(rest)?;
            Some((Expr::neg(of), rest))
        }
        ["subtract", rest @ ..] => {
            let (taken, whole, rest) = read_pair(rest, "from")?;
            Some((Expr::binary(Op::Sub, whole, taken), rest))
        }
        ["multiply", rest @ ..] => read_binary(Op::Mul, rest, "by"),
        ["add", rest @ ..] => read_binary(Op::Add, rest, "and"),
        ["take", rest @ ..] => read_noun(rest),
        _ => None,
    }
}

fn read_noun<'w>(words: &'w [&'w str]) -> Option<(Expr, &'w [&'w str])> {
    match words {
        ["the", "negative", "of", rest @ ..] => {
            let (of, rest) = read_noun(rest)?;
            Some((Expr::neg(of), rest))
        }
        ["the", name, "of", rest @ ..] => {
            let op = Op::ALL.into_iter().find(|op| op_noun(*op) == *name)?;
            read_binary(op, rest, "and")
        }
        [word, rest @ ..] => {
            let number = NUMBERS.iter().position(|number| number == word)?;
            Some((Expr::Number(i64::try_from(number).ok()?), rest))
        }
        [] => None,
    }
}

fn read_binary<'w>(op: Op, words: &'w [&'w str], joint: &str) -> Option<(Expr, &'w [&'w str])> {
    let (left, right, rest) = read_pair(words, joint)?;
    Some((Expr::binary(op, left, right), rest))
}

fn read_pair<'w>(words: &'w [&'w str], joint: &str) -> Option<(Expr, Expr, &'w [&'w str])> {
    let (left, rest) = read_noun(words)?;
    let [found, rest @ ..] = rest else { return None };
    if *found != joint {
        return None;
    }
    let (right, rest) = read_noun(rest)?;
    Some((left, right, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::mini06::testing;

    #[track_caller]
    fn check(words: &str, expected: &str) {
        let prompt = format!("write the expression: {words}");
        let expr = expr_from_prompt(&prompt).expect("the words are in the grammar");
        assert_eq!(expr.to_string(), expected);
        assert_eq!(command(&expr), words, "one spelling per tree");
        assert!(Mini06.check(&prompt, expected));
    }

    #[test]
    fn words_become_one_tree() {
        check("add two and the product of three and four", "add(2,mul(3,4))");
        check("subtract five from nine", "sub(9,5)");
        check("multiply the sum of one and two by three", "mul(add(1,2),3)");
        check("take the larger of the negative of six and twelve", "max(neg(6),12)");
        check("negate the smaller of zero and one", "neg(min(0,1))");
        check("subtract the difference of three and one from the sum of two and two", "sub(add(2,2),sub(3,1))");
    }

    #[test]
    fn equal_value_is_not_enough() {
        let prompt = "write the expression: add two and three";
        assert!(!Mini06.check(prompt, "add(3,2)"));
        assert!(!Mini06.check(prompt, "5"));
        assert!(!Mini06.check(prompt, "add(2,3"));
        assert!(!Mini06.check("nothing here", "5"));
    }

    #[test]
    fn the_task_keeps_its_promises() {
        testing::check_generator(&Mini06);
    }
}
