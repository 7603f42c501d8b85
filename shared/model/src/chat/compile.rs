//! Between the engine's parser and its compiler: operators become calls of our own.
//!
//! **Invariant:** a compiled template makes no text, list or dict but through functions that pay
//! for it, and emits none but through the formatter.

use super::error::ChatError;
use super::operators::names;
use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, CompareOpKind, Const, Do,
    EmitExpr, Expr, Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr, List, Macro,
    Map, Set, SetBlock, Spanned, Stmt, Template, Test, UnaryOp, UnaryOpKind, Var, WithBlock,
};

type Result<T> = std::result::Result<T, ChatError>;

/// The template with every operator as a call.
pub(super) fn metered<'s>(template: &Stmt<'s>) -> Result<Stmt<'s>> {
    statement(template)
}

fn statements<'s>(body: &[Stmt<'s>]) -> Result<Vec<Stmt<'s>>> {
    body.iter().map(statement).collect()
}

fn statement<'s>(stmt: &Stmt<'s>) -> Result<Stmt<'s>> {
    Ok(match stmt {
        Stmt::Template(s) => {
            Stmt::Template(Spanned::new(Template { children: statements(&s.children)? }, s.span()))
        }
        Stmt::EmitExpr(s) => emit(expr(&s.expr)?, s.span()),
        Stmt::EmitRaw(s) => emit(constant(Value::from(s.raw), s.span()), s.span()),
        Stmt::ForLoop(s) => Stmt::ForLoop(Spanned::new(
            ForLoop {
                target: target(&s.target)?,
                iter: own(names::ITERATED, vec![expr(&s.iter)?], s.iter.span()),
                filter_expr: s.filter_expr.as_ref().map(expr).transpose()?,
                recursive: s.recursive,
                body: statements(&s.body)?,
                else_body: statements(&s.else_body)?,
            },
            s.span(),
        )),
        Stmt::IfCond(s) => Stmt::IfCond(Spanned::new(
            IfCond {
                expr: expr(&s.expr)?,
                true_body: statements(&s.true_body)?,
                false_body: statements(&s.false_body)?,
            },
            s.span(),
        )),
        Stmt::WithBlock(s) => {
            let assign = |(to, value): &(Expr<'s>, Expr<'s>)| Ok((target(to)?, kept(value)?));
            let assignments = s.assignments.iter().map(assign).collect::<Result<_>>()?;
            let body = statements(&s.body)?;
            Stmt::WithBlock(Spanned::new(WithBlock { assignments, body }, s.span()))
        }
        Stmt::Set(s) => {
            let value = match &s.target {
                Expr::GetAttr(attribute) => kept_inside(&attribute.expr, &s.expr)?,
                _ => kept(&s.expr)?,
            };
            Stmt::Set(Spanned::new(Set { target: target(&s.target)?, expr: value }, s.span()))
        }
        Stmt::SetBlock(s) => Stmt::SetBlock(Spanned::new(
            SetBlock {
                target: target(&s.target)?,
                filter: s.filter.as_ref().map(expr).transpose()?,
                body: statements(&s.body)?,
            },
            s.span(),
        )),
        Stmt::FilterBlock(s) => Stmt::FilterBlock(Spanned::new(
            FilterBlock { filter: expr(&s.filter)?, body: statements(&s.body)? },
            s.span(),
        )),
        Stmt::Macro(s) => Stmt::Macro(macro_(s)?),
        Stmt::CallBlock(s) => Stmt::CallBlock(Spanned::new(
            CallBlock { call: call(&s.call)?, macro_decl: macro_(&s.macro_decl)? },
            s.span(),
        )),
        Stmt::Continue(s) => {
            Stmt::Continue(Spanned::new(minijinja::machinery::ast::Continue, s.span()))
        }
        Stmt::Break(s) => Stmt::Break(Spanned::new(minijinja::machinery::ast::Break, s.span())),
        Stmt::Do(s) => Stmt::Do(Spanned::new(Do { call: call(&s.call)? }, s.span())),
        Stmt::AutoEscape(s) => return Err(unsupported("{% autoescape %}", s.span())),
        Stmt::Block(s) => return Err(unsupported("{% block %}", s.span())),
        Stmt::Import(s) => return Err(unsupported("{% import %}", s.span())),
        Stmt::FromImport(s) => return Err(unsupported("{% from %}", s.span())),
        Stmt::Extends(s) => return Err(unsupported("{% extends %}", s.span())),
        Stmt::Include(s) => return Err(unsupported("{% include %}", s.span())),
    })
}

fn emit<'s>(value: Expr<'s>, span: Span) -> Stmt<'s> {
    Stmt::EmitExpr(Spanned::new(EmitExpr { expr: value }, span))
}

fn macro_<'s>(declared: &Spanned<Macro<'s>>) -> Result<Spanned<Macro<'s>>> {
    let args = declared.args.iter().map(target).collect::<Result<_>>()?;
    let defaults = declared.defaults.iter().map(expr).collect::<Result<_>>()?;
    let body = statements(&declared.body)?;
    Ok(Spanned::new(Macro { name: declared.name, args, defaults, body }, declared.span()))
}

/// What is assigned to: a name, an attribute of a namespace, or several.
fn target<'s>(to: &Expr<'s>) -> Result<Expr<'s>> {
    Ok(match to {
        Expr::List(list) => {
            let items = list.items.iter().map(target).collect::<Result<_>>()?;
            Expr::List(Spanned::new(List { items }, list.span()))
        }
        other => expr(other)?,
    })
}

/// A value that goes into a variable.
fn kept<'s>(value: &Expr<'s>) -> Result<Expr<'s>> {
    let span = value.span();
    Ok(match expr(value)? {
        constant @ Expr::Const(_) => constant,
        other => own(names::KEPT, vec![other], span),
    })
}

/// A value that goes into a namespace. Naming the namespace makes the engine carry it into macros and
/// call blocks, which it does for what they read and not for what they set.
fn kept_inside<'s>(namespace: &Expr<'s>, value: &Expr<'s>) -> Result<Expr<'s>> {
    Ok(own(names::KEPT_INSIDE, vec![expr(value)?, expr(namespace)?], value.span()))
}

fn exprs<'s>(list: &[Expr<'s>]) -> Result<Vec<Expr<'s>>> {
    list.iter().map(expr).collect()
}

fn expr<'s>(value: &Expr<'s>) -> Result<Expr<'s>> {
    let span = value.span();
    Ok(match value {
        Expr::Var(var) => Expr::Var(Spanned::new(Var { id: var.id }, span)),
        Expr::Const(found) => constant(found.value.clone(), span),
        Expr::Slice(s) => {
            let bound = |bound: &Option<Expr<'s>>| match bound {
                Some(bound) => expr(bound),
                None => Ok(constant(Value::from(()), span)),
            };
            let arguments =
                vec![expr(&s.expr)?, bound(&s.start)?, bound(&s.stop)?, bound(&s.step)?];
            own(names::SLICE, arguments, span)
        }
        Expr::UnaryOp(s) => {
            let is_not = matches!(s.op, UnaryOpKind::Not);
            let op = if is_not { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            Expr::UnaryOp(Spanned::new(UnaryOp { op, expr: expr(&s.expr)? }, span))
        }
        Expr::BinOp(s) => binary(s, span)?,
        Expr::Compare(s) => compare(s, span)?,
        Expr::IfExpr(s) => Expr::IfExpr(Spanned::new(
            IfExpr {
                test_expr: expr(&s.test_expr)?,
                true_expr: expr(&s.true_expr)?,
                false_expr: s.false_expr.as_ref().map(expr).transpose()?,
            },
            span,
        )),
        Expr::Filter(s) => Expr::Filter(Spanned::new(
            Filter {
                name: s.name,
                expr: s.expr.as_ref().map(expr).transpose()?,
                args: arguments(&s.args, span)?,
            },
            span,
        )),
        Expr::Test(s) => Expr::Test(Spanned::new(
            Test { name: s.name, expr: expr(&s.expr)?, args: arguments(&s.args, span)? },
            span,
        )),
        Expr::GetAttr(s) => {
            Expr::GetAttr(Spanned::new(GetAttr { expr: expr(&s.expr)?, name: s.name }, span))
        }
        Expr::GetItem(s) => Expr::GetItem(Spanned::new(
            GetItem { expr: expr(&s.expr)?, subscript_expr: expr(&s.subscript_expr)? },
            span,
        )),
        Expr::Call(s) => Expr::Call(call(s)?),
        Expr::List(s) if s.as_const().is_some() => {
            Expr::List(Spanned::new(List { items: exprs(&s.items)? }, span))
        }
        Expr::List(s) => own(names::LIST, exprs(&s.items)?, span),
        Expr::Map(s) if s.as_const().is_some() => {
            Expr::Map(Spanned::new(Map { keys: exprs(&s.keys)?, values: exprs(&s.values)? }, span))
        }
        Expr::Map(s) => {
            let pairs = exprs(&s.keys)?.into_iter().zip(exprs(&s.values)?);
            own(names::DICT, pairs.flat_map(|(key, value)| [key, value]).collect(), span)
        }
    })
}

fn binary<'s>(s: &Spanned<BinOp<'s>>, span: Span) -> Result<Expr<'s>> {
    let name = match s.op {
        BinOpKind::Add => names::ADD,
        BinOpKind::Sub => names::SUB,
        BinOpKind::Mul => names::MUL,
        BinOpKind::Div => names::DIV,
        BinOpKind::FloorDiv => names::FLOOR_DIV,
        BinOpKind::Rem => names::REM,
        BinOpKind::Pow => names::POW,
        BinOpKind::Concat => names::CONCAT,
        BinOpKind::ScAnd | BinOpKind::ScOr => {
            let (left, right) = (expr(&s.left)?, expr(&s.right)?);
            return Ok(Expr::BinOp(Spanned::new(BinOp { op: s.op, left, right }, span)));
        }
        BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte
        | BinOpKind::In => {
            let is_search = matches!(s.op, BinOpKind::In);
            let (left, right) = weighed(&s.left, &s.right, is_search)?;
            return Ok(Expr::BinOp(Spanned::new(BinOp { op: s.op, left, right }, span)));
        }
    };
    Ok(own(name, vec![expr(&s.left)?, expr(&s.right)?], span))
}

fn compare<'s>(s: &Spanned<Compare<'s>>, span: Span) -> Result<Expr<'s>> {
    let compared = |op: &CompareOp<'s>| {
        let is_search = matches!(op.op, CompareOpKind::In | CompareOpKind::NotIn);
        let (_, right) = weighed(&s.expr, &op.expr, is_search)?;
        Ok(CompareOp { op: op.op, expr: right })
    };
    let ops = s.ops.iter().map(compared).collect::<Result<_>>()?;
    Ok(Expr::Compare(Spanned::new(Compare { expr: expr(&s.expr)?, ops }, span)))
}

/// Comparing takes time in proportion to the smaller side, searching to the right one. Constants
/// are small; other sides pay.
fn weighed<'s>(left: &Expr<'s>, right: &Expr<'s>, is_search: bool) -> Result<(Expr<'s>, Expr<'s>)> {
    let has_constant = matches!(left, Expr::Const(_)) || matches!(right, Expr::Const(_));
    let (left, folded) = (expr(left)?, expr(right)?);
    if (has_constant && !is_search) || matches!(folded, Expr::Const(_)) {
        return Ok((left, folded));
    }
    let span = folded.span();
    Ok((left, own(names::WEIGHED, vec![folded], span)))
}

fn call<'s>(s: &Spanned<Call<'s>>) -> Result<Spanned<Call<'s>>> {
    let args = arguments(&s.args, s.span())?;
    Ok(Spanned::new(Call { expr: expr(&s.expr)?, args }, s.span()))
}

fn arguments<'s>(args: &[CallArg<'s>], span: Span) -> Result<Vec<CallArg<'s>>> {
    let argument = |arg: &CallArg<'s>| match arg {
        CallArg::Pos(value) => expr(value).map(CallArg::Pos),
        CallArg::Kwarg(name, value) => Ok(CallArg::Kwarg(name, expr(value)?)),
        CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
            Err(unsupported("a call with `*` or `**`", span))
        }
    };
    args.iter().map(argument).collect()
}

fn constant<'s>(value: Value, span: Span) -> Expr<'s> {
    Expr::Const(Spanned::new(Const { value }, span))
}

/// A call of one of our operators.
fn own<'s>(name: &'static str, arguments: Vec<Expr<'s>>, span: Span) -> Expr<'s> {
    let args = arguments.into_iter().map(CallArg::Pos).collect();
    let function = Expr::Var(Spanned::new(Var { id: name }, span));
    Expr::Call(Spanned::new(Call { expr: function, args }, span))
}

fn unsupported(what: &str, span: Span) -> ChatError {
    ChatError::Template {
        line: span.start_line.into(),
        problem: format!("{what} is not supported in chat templates"),
    }
}
