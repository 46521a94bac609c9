//! What compiling a component takes, read off its code before it is compiled.
//!
//! The compiler's time and memory grow with a function's code, and with the product of its values and its branches: each value may have to be
//! carried across each branch. A megabyte of code can hold so much of both that compiling it takes minutes and all memory. Bounds are far above what
//! compilers of programs emit: of the largest embedded module, the longest function has 56 KB, and the sums of the two products are 4 and 382 million.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::ModuleError;

/// Bytes of a function.
const FUNCTION_BYTES_MAX: u64 = 1 << 20;
/// Locals times branches, of all functions together.
const LOCALS_MAX: u64 = 16_000_000;
/// Operators times branches, of all functions together.
const OPERATORS_MAX: u64 = 4_000_000_000;

/// What counts of a function, or of many.
#[derive(Clone, Copy, Default)]
struct Effort {
    locals: u64,
    operators: u64,
}

/// Refuses a component that takes too much to compile.
pub(crate) fn check(component: &[u8]) -> Result<(), ModuleError> {
    let unreadable = |error: wasmparser::BinaryReaderError| ModuleError::NotAComponent(error.to_string());
    let mut sum = Effort::default();
    for payload in Parser::new(0).parse_all(component) {
        let Payload::CodeSectionEntry(body) = payload.map_err(unreadable)? else { continue };
        let bytes = body.range().len() as u64;
        if bytes > FUNCTION_BYTES_MAX {
            return Err(too_much("bytes of a function", bytes, FUNCTION_BYTES_MAX));
        }
        let Effort { locals, operators } = of(&body).map_err(unreadable)?;
        sum = Effort { locals: sum.locals.saturating_add(locals), operators: sum.operators.saturating_add(operators) };
        if sum.locals > LOCALS_MAX {
            return Err(too_much("locals times branches", sum.locals, LOCALS_MAX));
        }
        if sum.operators > OPERATORS_MAX {
            return Err(too_much("operators times branches", sum.operators, OPERATORS_MAX));
        }
    }
    Ok(())
}

fn too_much(what: &'static str, found: u64, most: u64) -> ModuleError {
    ModuleError::Effort { what, found, most }
}

fn of(body: &FunctionBody<'_>) -> wasmparser::Result<Effort> {
    let mut locals = 0_u64;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    let (mut operators, mut branches) = (0_u64, 0_u64);
    let mut code = body.get_operators_reader()?;
    while !code.eof() {
        operators += 1;
        branches += match code.read()? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::Br { .. } | Operator::BrIf { .. } => 1,
            Operator::BrTable { targets } => u64::from(targets.len()) + 1,
            _ => 0,
        };
    }
    Ok(Effort { locals: locals.saturating_mul(branches), operators: operators.saturating_mul(branches) })
}

#[cfg(test)]
mod tests {
    use crate::{Sandbox, SandboxOptions};

    /// A component around a function with so many locals, which are all used before and after so many branches.
    fn component(locals: usize, branches: usize) -> Vec<u8> {
        let uses: String =
            (0..locals).map(|local| format!("(local.set {} (i32.add (local.get {}) (local.get 0)))", local + 1, local + 1)).collect();
        let branch = "(if (local.get 0) (then (local.set 0 (i32.mul (local.get 0) (i32.const 3)))))";
        let text = format!(
            "(component (core module (func (export \"f\") (param i32) (local {}) {uses} {} {uses})))",
            "i32 ".repeat(locals),
            branch.repeat(branches)
        );
        wat::parse_str(text).expect("assembles")
    }

    #[test]
    fn code_that_takes_too_much_is_refused_before_it_is_compiled() {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 4, cache_dir: None }).expect("starts");
        for (locals, branches, what) in [(40_000, 10_000, "locals times branches"), (10, 200_000, "bytes of a function")] {
            let error = sandbox.load(&component(locals, branches)).expect_err("too much").to_string();
            assert!(error.contains(what), "{error}");
        }
        let table = "(block (br_table ".to_owned() + &"0 ".repeat(60_000) + "(local.get 0)))";
        let text = format!("(component (core module (func (param i32) {})))", table.repeat(8) + &"(drop (i32.const 1))".repeat(60_000));
        let error = sandbox.load(&wat::parse_str(text).expect("assembles")).expect_err("too much").to_string();
        assert!(error.contains("operators times branches"), "{error}");
    }

    #[test]
    fn what_is_let_through_is_compiled_in_seconds() {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 4, cache_dir: None }).expect("starts");
        let started = std::time::Instant::now();
        // Values that wait on the stack while the branches pass.
        let (values, branches) = (20_000, 18_000);
        let branch = "(if (local.get 0) (then (local.set 0 (i32.mul (local.get 0) (i32.const 3)))))";
        let text = format!(
            "(component (core module (func (param i32) (result i32) {} {} {})))",
            "(i32.mul (local.get 0) (local.get 0))".repeat(values),
            branch.repeat(branches),
            "(i32.add)".repeat(values - 1)
        );
        for component in [component(4_000, 3_900), wat::parse_str(text).expect("assembles")] {
            // It is compiled, and then found to implement no world.
            let error = sandbox.load(&component).expect_err("no world").to_string();
            assert!(error.contains("implements neither world"), "{error}");
            println!("{:?}", started.elapsed());
        }
    }
}
