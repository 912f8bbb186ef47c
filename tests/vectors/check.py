def patched(value, patch):
    if not isinstance(patch, dict):
        return patch
    if set(patch) == {"~"}:
        start, end, put = patch["~"]
        return value[: 2 * start] + put + value[2 * end :]
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = patched(merged.get(name), change)
    return merged
