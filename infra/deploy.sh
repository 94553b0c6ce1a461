#!/usr/bin/env bash
# Deploys Logtally to the AWS account that the credentials are of, or says that there is nothing to change.
# shellcheck disable=SC2016 # the backquotes of --query are JMESPath's
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
    cat <<'EOF'
Usage: infra/deploy.sh [OPTIONS]

Tests, builds, uploads the program under the hash of its content, shows the change set and, after asking, deploys it.
Run again, it updates; with nothing to change, it says so.

  --stack NAME            name of the stack, and prefix of every name in it [default: logtally]
  --reference FILE        upload FILE as the reference data [default: what is there; else a file without hosts]
  --parameter KEY=VALUE   a parameter of infra/logtally.yaml; may be repeated; others stay as they were deployed
  --architecture ARCH     x86_64 or arm64 [default: this machine's]; another one needs cargo-zigbuild
  --binaries DIR          deploy DIR/logtally and DIR/logtally-lambda instead of testing and building
  --skip-tests            build without running the tests
  --yes                   do not ask
  --dry-run               print every command and run none; needs no credentials
  --delete                destroy the stack and its data, after asking
  --help                  this text

Region and credentials are the AWS CLI's (AWS_REGION, AWS_PROFILE, …).
EOF
}

# Amazon Linux 2023, which the functions and the workers run on, has this glibc.
readonly GLIBC=2.34
readonly DIST=${CARGO_TARGET_DIR:-target}/deploy

stack=logtally
reference=
architecture=$(uname -m | sed 's/^aarch64$/arm64/')
binaries=
parameters=()
tests=true
ask=true
dry_run=false
delete=false

fail() {
    printf 'deploy.sh: %s\n' "$*" >&2
    exit 1
}

misused() {
    printf 'deploy.sh: %s; --help lists the options\n' "$*" >&2
    exit 64
}

absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

read_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --stack | --reference | --parameter | --architecture | --binaries)
                [ $# -ge 2 ] || misused "$1 needs a value"
                ;;
        esac
        case $1 in
            --stack) stack=$2 && shift ;;
            --reference) reference=$(absolute "$2") && shift ;;
            --parameter) parameters+=("$2") && shift ;;
            --architecture) architecture=$2 && shift ;;
            --binaries) binaries=$(absolute "$2") && shift ;;
            --skip-tests) tests=false ;;
            --yes) ask=false ;;
            --dry-run) dry_run=true ;;
            --delete) delete=true ;;
            --help) usage && exit 0 ;;
            *) misused "unknown argument $1" ;;
        esac
        shift
    done
    case $architecture in
        x86_64 | arm64) ;;
        *) misused "--architecture $architecture is neither x86_64 nor arm64" ;;
    esac
    for parameter in ${parameters[@]+"${parameters[@]}"}; do
        case $parameter in
            Prefix=* | Artifact=* | ArtifactBucket=* | Architecture=*)
                misused "--parameter ${parameter%%=*} is set by deploy.sh"
                ;;
            *=*) ;;
            *) misused "--parameter $parameter is no KEY=VALUE" ;;
        esac
    done
    # It begins the names of buckets and of everything else.
    [[ $stack =~ ^[a-z][a-z0-9-]{1,23}$ ]] ||
        misused "--stack $stack is no name of 2 to 24 small letters, digits and hyphens that begins with a letter"
    [ -z "$reference" ] || [ -r "$reference" ] || fail "--reference $reference cannot be read"
}

# Where commands are shown, whatever becomes of their own diagnostics.
exec 3>&2

# Prints a command as it could be typed.
show() {
    local word line=+
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s\n' "$line" >&3
}

# Prints a command and, unless this is a dry run, runs it.
run() {
    show "$@"
    $dry_run || "$@"
}

# Like run, for a command whose output is wanted; a dry run gets $1 instead.
ask_for() {
    local placeholder=$1
    shift
    run "$@" || return
    ! $dry_run || printf '%s\n' "$placeholder"
}

# Like run, for a command whose failure is an answer, and whose words are not wanted. A dry run takes it for a no.
succeeds() {
    show "$@"
    ! $dry_run && "$@" >/dev/null 2>&1
}

confirm() {
    $ask || return 0
    ! $dry_run || return 0
    local answer
    read -r -p "$1 [y/N] " answer || answer=
    [[ $answer == [yY] ]]
}

done_with() {
    if $dry_run; then echo "nothing was done: this was a dry run"; else echo "$1"; fi
}

check_needs() {
    $dry_run && return
    local needed=(aws sha256sum) tool
    if ! $delete && [ -z "$binaries" ]; then needed+=(cargo); fi
    for tool in "${needed[@]}"; do
        command -v "$tool" >/dev/null || fail "needs $tool, which is not installed"
    done
    $delete || command -v python3 >/dev/null || command -v zip >/dev/null || fail "needs python3 or zip; neither is installed"
}

find_account() {
    account=$(ask_for ACCOUNT aws sts get-caller-identity --query Account --output text) ||
        fail "there are no credentials that work: set AWS_PROFILE, or run aws configure"
    region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
    if [ -z "$region" ]; then
        region=$(ask_for REGION aws configure get region) || fail "there is no region: set AWS_REGION"
    fi
    export AWS_REGION=$region AWS_DEFAULT_REGION=$region
    artifacts=$stack-artifacts-$account-$region
    data=$stack-$account-$region
}

build() {
    if [ -n "$binaries" ]; then
        built=$binaries
        return
    fi
    $tests && run cargo test --locked
    local names=(--bin logtally --bin logtally-lambda) target=${architecture/arm64/aarch64}-unknown-linux-gnu
    if command -v cargo-zigbuild >/dev/null; then
        run cargo zigbuild --locked --release --target "$target.$GLIBC" "${names[@]}"
        built=${CARGO_TARGET_DIR:-target}/$target/release
    else
        [ "$(uname -s)-$(uname -m | sed 's/^aarch64$/arm64/')" = "Linux-$architecture" ] ||
            fail "building for $architecture here needs cargo-zigbuild: cargo install cargo-zigbuild"
        run cargo build --locked --release "${names[@]}"
        built=${CARGO_TARGET_DIR:-target}/release
    fi
}

# A program that asks for a newer glibc than the functions have would be deployed, and then never start.
check_glibc() {
    $dry_run && return
    local binary newest
    for binary in logtally logtally-lambda; do
        [ -x "$built/$binary" ] || fail "$built/$binary is no program"
        newest=$({ grep -aoE 'GLIBC_2\.[0-9]+' "$built/$binary" || true; } | sed 's/GLIBC_//' | sort -uV | tail -n 1)
        [ "$(printf '%s\n' "${newest:-0}" "$GLIBC" | sort -V | tail -n 1)" = "$GLIBC" ] ||
            fail "$built/$binary needs glibc $newest, but Amazon Linux 2023 has $GLIBC: cargo install cargo-zigbuild, and run again"
    done
}

# The bytes of what is deployed, and nothing else, name it: times of files would make a change out of none.
package() {
    run rm -rf "$DIST"
    run mkdir -p "$DIST/function" "$DIST/hook" "$DIST/upload"
    run install -m 755 "$built/logtally-lambda" "$DIST/function/bootstrap"
    run install -m 755 "$built/logtally" "$DIST/hook/logtally"
    run install -m 644 infra/scaling_hook.py "$DIST/hook/scaling_hook.py"
    if command -v strip >/dev/null && [ "$(uname -m | sed 's/^aarch64$/arm64/')" = "$architecture" ] && [ -z "$binaries" ]; then
        run strip "$DIST/function/bootstrap" "$DIST/hook/logtally"
    fi
    run install -m 755 "$DIST/hook/logtally" infra/user-data.sh "$DIST/upload"
    run install -m 644 infra/logtally.service "$DIST/upload"
    local files=(function/bootstrap hook/logtally hook/scaling_hook.py upload/user-data.sh upload/logtally.service)
    hash=CONTENT_HASH
    $dry_run || hash=$(cd "$DIST" && sha256sum "${files[@]}" | sha256sum | cut -c 1-32)
    compress function logtally-lambda.zip
    compress hook scaling-hook.zip
}

compress() {
    if command -v python3 >/dev/null; then
        (run cd "$DIST/$1" && run python3 -c 'import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as archive:
    for name in sorted(os.listdir()): archive.write(name)' "../upload/$2")
    else
        (run cd "$DIST/$1" && run zip -q -r "../upload/$2" .)
    fi
}

upload() {
    if ! succeeds aws s3api head-bucket --bucket "$artifacts"; then
        local where=()
        [ "$region" = us-east-1 ] || where=(--create-bucket-configuration "LocationConstraint=$region")
        run aws s3api create-bucket --bucket "$artifacts" ${where[@]+"${where[@]}"} >/dev/null
        run aws s3api put-public-access-block --bucket "$artifacts" --public-access-block-configuration \
            BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
    fi
    # The archive that is looked for is the one that is uploaded last.
    if succeeds aws s3api head-object --bucket "$artifacts" --key "$hash/logtally-lambda.zip"; then
        return
    fi
    run aws s3 cp --only-show-errors --recursive --exclude logtally-lambda.zip "$DIST/upload" "s3://$artifacts/$hash/"
    run aws s3 cp --only-show-errors "$DIST/upload/logtally-lambda.zip" "s3://$artifacts/$hash/"
}

status_of_stack() {
    aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text 2>/dev/null ||
        echo NONE
}

deploy() {
    local before=NONE said changes waited='stack-update-complete'
    $dry_run || before=$(status_of_stack)
    case $before in
        NONE | REVIEW_IN_PROGRESS) waited='stack-create-complete' ;;
        ROLLBACK_COMPLETE | *_FAILED) fail "the stack $stack is $before: see its events, then infra/deploy.sh --delete" ;;
        *_IN_PROGRESS) fail "the stack $stack is $before: wait until that is over" ;;
    esac
    said=$(ask_for "arn:aws:cloudformation:$region:$account:changeSet/CHANGE_SET" \
        aws cloudformation deploy --no-execute-changeset --no-fail-on-empty-changeset \
        --stack-name "$stack" --template-file infra/logtally.yaml \
        --capabilities CAPABILITY_IAM --tags "logtally=$stack" --parameter-overrides "Prefix=$stack" \
        "ArtifactBucket=$artifacts" "Artifact=$hash" "Architecture=$architecture" \
        ${parameters[@]+"${parameters[@]}"} 2>&1) || true
    changes=$(grep -o 'arn:[^ ]*:changeSet/[^ ]*' <<<"$said" || true)
    if [ -z "$changes" ]; then
        case $said in
            *"No changes to deploy"* | *"No updates are to be performed"*)
                echo "nothing to change: the stack $stack is as it should be"
                return
                ;;
            *) fail "there is no change set: $said" ;;
        esac
    fi
    run aws cloudformation describe-change-set --change-set-name "$changes" --output table \
        --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
    if ! confirm "Deploy these changes to account $account in $region?"; then
        run aws cloudformation delete-change-set --change-set-name "$changes"
        [ "$waited" = stack-update-complete ] || run aws cloudformation delete-stack --stack-name "$stack"
        fail "nothing was deployed"
    fi
    run aws cloudformation execute-change-set --change-set-name "$changes"
    run aws cloudformation wait "$waited" --stack-name "$stack" || {
        run aws cloudformation describe-stack-events --stack-name "$stack" --output table \
            --query 'StackEvents[?contains(ResourceStatus, `FAILED`)].[LogicalResourceId, ResourceStatusReason]'
        fail "the stack $stack was not deployed; the table above says why"
    }
    done_with "deployed: the stack $stack"
}

give_reference() {
    local place=s3://$data/hosts.csv empty
    if [ -n "$reference" ]; then
        run aws s3 cp --only-show-errors "$reference" "$place"
    elif ! succeeds aws s3api head-object --bucket "$data" --key hosts.csv; then
        # Without hosts everything is Unknown; without the file, analysis would not start.
        empty=$DIST/hosts.csv
        $dry_run || printf 'Host,ApplicationName,Contact\n' >"$empty"
        run aws s3 cp --only-show-errors "$empty" "$place"
    fi
}

show_outputs() {
    run aws cloudformation describe-stacks --stack-name "$stack" --output table \
        --query 'Stacks[0].Outputs[?OutputKey!=`ProducerUserData`].[OutputKey, OutputValue]'
}

# Every version of every object, five hundred at a time, and then the bucket.
remove_bucket() {
    if ! succeeds aws s3api head-bucket --bucket "$1" && ! $dry_run; then
        echo "there is no bucket $1"
        return
    fi
    local versions
    while true; do
        versions=$(ask_for '' aws s3api list-object-versions --bucket "$1" --max-items 500 --output json \
            --query '{Objects: [Versions || `[]`, DeleteMarkers || `[]`][].{Key: Key, VersionId: VersionId}, Quiet: `true`}')
        grep -q '"Key"' <<<"$versions" || break
        run aws s3api delete-objects --bucket "$1" --delete "$versions" >/dev/null
    done
    run aws s3api delete-bucket --bucket "$1"
}

destroy() {
    confirm "Destroy the stack $stack of account $account in $region, with positions, ledger and reference data?" ||
        fail "nothing was destroyed"
    # The stack first: what writes into the bucket is gone before the bucket is emptied.
    run aws cloudformation delete-stack --stack-name "$stack"
    run aws cloudformation wait stack-delete-complete --stack-name "$stack"
    remove_bucket "$data"
    remove_bucket "$artifacts"
    done_with "destroyed: the stack $stack; its metrics stay until CloudWatch forgets them"
}

read_arguments "$@"
cd "$root"
check_needs
find_account
if $delete; then
    destroy
    exit
fi
build
check_glibc
package
upload
deploy
give_reference
show_outputs
