//! The expression language of task 6 in digits and signs: writing one operation, seldom two, and running it.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, exchange};
use crate::tasks::mini06::{Expr, NUMBERS, Op};
use crate::words::{below, pick};

/// One exercise in writing or running an expression.
pub(super) fn code(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 6) {
        0 => run(rng),
        1 => nested(rng),
        2 => negative(rng),
        _ => single(rng),
    }
}

/// A number and how it is said: a digit or a word.
fn number(rng: &mut ChaCha8Rng) -> (Expr, String) {
    let index = below(rng, NUMBERS.len());
    let said = if below(rng, 2) == 0 { NUMBERS[index].to_owned() } else { index.to_string() };
    (Expr::Number(i64::try_from(index).unwrap_or_default()), said)
}

/// Said between two operands, other than in the task.
fn said(op: Op, left: &str, right: &str) -> String {
    match op {
        Op::Add => format!("{left} plus {right}"),
        Op::Sub => format!("{left} minus {right}"),
        Op::Mul => format!("{left} times {right}"),
        Op::Max => format!("the bigger one of {left} and {right}"),
        Op::Min => format!("the lesser one of {left} and {right}"),
    }
}

fn ask(rng: &mut ChaCha8Rng, words: &str) -> String {
    const LEADS: [&str; 4] = ["code for ", "in code please : ", "as a formula : ", "turn this into a call : "];
    format!("{}{words}", pick(rng, &LEADS))
}

fn single(rng: &mut ChaCha8Rng) -> Exchange {
    let op = *pick(rng, &Op::ALL);
    let ((left, left_said), (right, right_said)) = (number(rng), number(rng));
    let words = said(op, &left_said, &right_said);
    exchange(ask(rng, &words), Expr::binary(op, left, right).to_string())
}

/// The inner operation stands in brackets, so no order has to be guessed.
fn nested(rng: &mut ChaCha8Rng) -> Exchange {
    let (outer, inner) = (*pick(rng, &Op::ALL), *pick(rng, &Op::ALL));
    let ((first, first_said), (second, second_said), (third, third_said)) = (number(rng), number(rng), number(rng));
    let group = format!("( {} )", said(inner, &first_said, &second_said));
    let expr = Expr::binary(inner, first, second);
    let (words, expr) = match below(rng, 2) {
        0 => (said(outer, &group, &third_said), Expr::binary(outer, expr, third)),
        _ => (said(outer, &third_said, &group), Expr::binary(outer, third, expr)),
    };
    exchange(ask(rng, &words), expr.to_string())
}

fn negative(rng: &mut ChaCha8Rng) -> Exchange {
    let (expr, words) = number(rng);
    exchange(ask(rng, &format!("the opposite of {words}")), Expr::neg(expr).to_string())
}

fn run(rng: &mut ChaCha8Rng) -> Exchange {
    let expr = Expr::binary(*pick(rng, &Op::ALL), number(rng).0, number(rng).0);
    let value = expr.value().unwrap_or_default();
    exchange(format!("what does {expr} give ?"), value.to_string())
}
