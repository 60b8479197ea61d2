"""A search whose storage fails while it runs: it ends, and finished trials are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from scl.errors import first_line
from scl.masking import masked_value, without_secrets
from scl.search.journal import JOURNAL, storage_errors
from scl.store.files import explain


def ends_search_if_storage_fails(otherwise: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a method of SearchDriver that uses Optuna's storage: if the storage fails, the search ends and the
    method returns `otherwise`. Finished trials are in the store, and the next run reports them to Optuna."""

    def decorator(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *arguments: Any) -> Any:
            if self.lost_storage:
                return otherwise
            try:
                return method(self, *arguments)
            except storage_errors(self.optuna) as error:
                self.lost_storage = True
                url = self.plan.options.storage or JOURNAL
                storage = masked_value(url)
                reason = explain(error) if isinstance(error, OSError) else without_secrets(first_line(error), url)[:300]
                self.halt(f"the search's storage {storage} was lost ({reason}); finished trials are kept")
                return otherwise

        return call

    return decorator
