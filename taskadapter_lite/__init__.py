"""Task-Adapter: few-shot action recognition with a frozen image model."""
