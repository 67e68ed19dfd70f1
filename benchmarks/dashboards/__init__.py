"""Every panel's query, asked of a Prometheus that scrapes a running system; and alerts, each really caused."""
