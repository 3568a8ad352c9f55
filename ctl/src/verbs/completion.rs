//! `rctl completion`: scripts for shells, which ask `rctl __complete` at each tab.

use clap::Args;

use crate::errors::{Outcome, fail};
use crate::session::Session;

const EXAMPLES: &str = "  \
  # Load the rctl completion code for bash into the current shell
  source <(rctl completion bash)

  # Load the rctl completion code for zsh into the current shell
  source <(rctl completion zsh)

  # Load the rctl completion code for fish into the current shell
  rctl completion fish | source

  # Load the rctl completion code for powershell into the current shell
  rctl completion powershell | Out-String | Invoke-Expression";

/// Output shell completion code for the specified shell (bash, zsh, fish, or powershell).
///
/// The shell code must be evaluated to provide interactive completion of rctl commands, and of the names of what the
/// cluster holds.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shells: Vec<String>,
}

const BASH: &str = r#"# bash completion for rctl
__rctl_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" output directive candidate
    local -a words candidates
    read -ra words <<< "$line"
    # An empty last word asks for what may follow.
    [[ $line == *[[:space:]] ]] && words+=("")
    output=$("${words[0]}" __complete "${words[@]:1}" 2>/dev/null) || return
    directive=${output##*$'\n':}
    directive=${directive#:}
    output=${output%:*}
    while IFS= read -r candidate; do
        [[ -n $candidate ]] && candidates+=("${candidate%%$'\t'*}")
    done <<< "$output"
    local current="${COMP_WORDS[COMP_CWORD]}"
    [[ $current == "=" || $current == ":" ]] && current=""
    if (( ${#candidates[@]} == 0 && (directive & 4) == 0 )); then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
        return
    fi
    (( directive & 2 )) && compopt -o nospace 2>/dev/null
    COMPREPLY=("${candidates[@]}")
    # What stands before a colon is not part of the shell's word.
    if [[ $COMP_WORDBREAKS == *:* && ${words[-1]} == *:* ]]; then
        local before="${words[-1]%:*}:"
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
complete -o default -F __rctl_complete rctl
"#;

const ZSH: &str = r#"#compdef rctl
# zsh completion for rctl
__rctl_complete() {
    local output directive line
    local -a candidates flags
    output=$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null) || return
    directive=${output##*:}
    output=${output%:*}
    while IFS= read -r line; do
        [[ -z $line ]] && continue
        # A colon separates a candidate from its meaning.
        line=${line//:/\\:}
        candidates+=("${line/$'\t'/:}")
    done <<< "$output"
    if (( ${#candidates} == 0 && (directive & 4) == 0 )); then
        _files
        return
    fi
    (( directive & 2 )) && flags=(-S '')
    _describe -V 'rctl' candidates $flags
}
if [[ $funcstack[1] == _rctl ]]; then
    __rctl_complete
else
    compdef __rctl_complete rctl
fi
"#;

const FISH: &str = r#"# fish completion for rctl
function __rctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l output ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    or return
    set -l directive (string replace ':' '' -- $output[-1])
    set -l candidates $output[1..-2]
    if test (count $candidates) -eq 0; and test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path "$current"
        return
    end
    printf '%s\n' $candidates
end
complete -c rctl -e
complete -c rctl -f -k -a '(__rctl_complete)'
"#;

const POWERSHELL: &str = r#"# powershell completion for rctl
Register-ArgumentCompleter -Native -CommandName 'rctl' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -le $cursorPosition } | ForEach-Object { $_.Extent.Text })
    $program = $words[0]
    $rest = @($words | Select-Object -Skip 1)
    if ($wordToComplete -eq '') { $rest += '""' }
    $output = @(& $program __complete @rest 2>$null)
    if ($output.Count -eq 0) { return }
    $output | Select-Object -SkipLast 1 | ForEach-Object {
        $name, $meaning = $_ -split "`t", 2
        if (-not $meaning) { $meaning = $name }
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $meaning)
    }
}
"#;

/// Runs the command.
pub fn run(session: &mut Session, args: &CompletionArgs) -> Outcome {
    let shell = match args.shells.as_slice() {
        [] => return crate::errors::usage("rctl completion", "shell not specified"),
        [shell] => shell,
        _ => return crate::errors::usage("rctl completion", "too many arguments. Expected only the shell type"),
    };
    let script = match shell.as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "powershell" => POWERSHELL,
        other => return fail(format!("unsupported shell type {other:?}")),
    };
    Ok(write!(session.io.out, "{script}")?)
}
