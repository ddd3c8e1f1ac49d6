"""The web page (`cxr-app`, extra [app]): a small file a tab, over the pipeline, the judges and the cxr-eval command."""
